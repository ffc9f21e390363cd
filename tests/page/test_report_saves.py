"""What the report in a real browser saves and copies."""

import csv
import io
import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from browser import Browser
from PIL import Image
from report_pages import NAMES, explored

from dhr.dataset.classes import load_classes

COLOURS = load_classes("voc").palette  # of classes of one's own


def test_charts_become_files(page: Browser) -> None:
    assert page.run("document.querySelectorAll('[aria-label$=\" as SVG\"]').length") == 7
    for name, title in (("loss", "loss"), ("iou-per-class-validation", "IoU per class, validation, %"),
                        ("confusion-validation", "Confusion, validation, %")):  # fmt: skip
        page.click(f"[aria-label={json.dumps(f'{title} as SVG')}]")
        svg = ElementTree.fromstring(page.saved(f"{name}.svg"))
        assert svg.tag == "{http://www.w3.org/2000/svg}svg" and title in [text.text for text in svg.iter() if text.text]
        page.click(f"[aria-label={json.dumps(f'{title} as PNG')}]")
        picture = Image.open(io.BytesIO(page.saved(f"{name}.png"))).convert("RGB")
        assert picture.size == tuple(int(4 * float(svg.attrib[side])) for side in ("width", "height"))
        assert picture.getpixel((1, 1)) == (255, 255, 255) and len(picture.getcolors(10**6) or []) > 20


def test_a_row_becomes_a_picture(page: Browser) -> None:
    page.choose("#query", "val_2")
    page.choose("#opacity", "100")
    page.click("#row-png")
    row = Image.open(io.BytesIO(page.saved("val_2.png"))).convert("RGB")
    assert row.size == (4 * 410 - 10, 300 + 30), "photograph, truth and two runs"
    places = {column: (410 * column + int(9.5 * 400 / 32), 30 + int(8.5 * 300 / 24)) for column in range(4)}
    assert [row.getpixel(places[column]) == COLOURS[3] for column in range(4)] == [False, True, True, False]


def test_scores_become_a_table(page: Browser, made: Path) -> None:
    page.choose("#class", "3")
    page.click("#scores-csv")
    rows = list(csv.reader(io.StringIO(page.saved("scores.csv").decode())))
    entry = next(each for each in explored(made.read_text())["images"] if each["id"] == "val_2")
    assert rows[0] == ["id", f"IoU {NAMES[3]} run", f"IoU {NAMES[3]} other"]
    assert rows[1] == ["val_2", *(f"{value:g}" for value in next(row[1:] for row in entry["ious"] if row[0] == 3))]


@pytest.mark.parametrize(("kind", "start", "holds"), [
    ("Markdown", "| scored | saw | split |", "| run | IS | validation | **71.3** |"),
    ("CSV", "scored,saw,split,", "run,IS,validation,71.3,"),
    ("LaTeX", "\\begin{tabular}{lllrrr", "run & IS & validation & \\textbf{71.3} &"),
])  # fmt: skip
def test_tables_are_copied(page: Browser, kind: str, start: str, holds: str) -> None:
    page.run("navigator.clipboard.writeText = (text) => { window.copied = text; return Promise.resolve(); }")
    page.click(f'[aria-label="Copy Scores as {kind}"]')
    page.wait("window.copied")
    text = page.run("copied")
    assert text.startswith(start) and holds in text, text
    page.click(f'[aria-label="Copy Scores per class, validation as {kind}"]')
    page.wait("copied.includes('truth')")
    lines = page.run("copied").splitlines()
    assert sum("other" in line for line in lines) == 10, "a class that spans two rows stands in both"
