"""What holds for every template: nothing in it is code but what it says itself, and its tables are tables."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from report_pages import RECORD, TOY, Outline, check_self_contained, draw_scene, make_run, png_of, read, scores_of

from dhr.dataset.audit.finding import Finding
from dhr.dataset.audit.split import SplitAuditor
from dhr.disk.annotation import write_tags
from dhr.disk.atomic import write_atomically, write_json
from dhr.disk.layout import DataLayout, RunFolder
from dhr.disk.mask import write_mask
from dhr.evaluation.gallery import save_gallery
from dhr.page import render
from dhr.page.audit import page_of
from dhr.page.audit_record import Audited
from dhr.page.report import write_report

HOSTILE = "<script>alert(1)<b>&\"'>--><img src=x onerror=alert(2)>{{ 7*7 }}{% if %}{#]]>`\\x"
PLAIN = "0 plain"  # comes before letters too, so that lists keep their order
FOLDER = Path(render.__file__).parent


def write_split(layout: DataLayout, split: str, word: str) -> None:
    """One image with mask and tags, everything called by the word."""
    image, truth = draw_scene(1)
    write_mask(layout.mask(split, word), truth, TOY.palette)
    write_tags(layout.tags(split, word), truth.shape, [TOY.names[2]])
    write_atomically(layout.image(split, word).with_suffix(".png"), png_of(image))


def report_of(root: Path, word: str) -> str:
    """A report in which every text of every file is the word."""
    texts = {key: word for key, value in RECORD.items() if isinstance(value, str)}
    record = {**RECORD, **texts, "versions": {word: word}, "saw": {word: word}, "licences": {word: word}, "start": word}
    curves = [{"step": step, "train/loss": math.nan if step == 3 else 1.0} for step in range(1, 9)]
    run = make_run(root / word, record=record, curves=curves)
    classes = [{"name": f"{word}{index}", "iou": word, "fpr": 0.5, "fnr": 1, "truth_pixels": 3} for index in range(3)]
    means = {"definition": word, "measured": word, "dataset": word, "images": word, "split": "validation"}
    scores = scores_of(50.0, classes=classes, confusion=[[1, 2, 3], [3, 4, 0], [0, 0, 0]], **means)
    image, mask = draw_scene(1)
    save_gallery(RunFolder(run).gallery / f"{word}.npz", image=image, truth=mask, tags=[word])
    write_split(DataLayout(root / "data", "Toy"), word, word)
    write_mask(RunFolder(run).masks(word) / f"{word}.png", mask, TOY.palette)
    tau = make_run(root / f"{word}2", record={**record, "tau": 0.5}, curves=curves)
    strange = make_run(root / f"{word}3", record={**record, "device": "other"}, curves=curves)
    for folder in (run, tau):
        write_json(RunFolder(folder).scores("validation"), scores)
        write_json(RunFolder(folder).scores(word), {**scores, "split": word})
    write_json(root / "wss.json", {**scores, "split": f"train{word}"})
    return write_report(run, compare=[tau, strange], wss_scores=root / "wss.json").read_text()


def audit_of(root: Path, word: str) -> str:
    """The page of an audit in which every name is the word."""
    layout = DataLayout(root, word)
    table = dataclasses.replace(TOY, names=tuple(f"{word}{index}" for index in range(10)))
    write_split(layout, word, "id")
    write_tags(layout.tags(word, "id"), (24, 32), [f"{word}2", f"{word}3"])
    write_mask(layout.mask(word, word), np.zeros((24, 32), np.uint8), TOY.palette)
    split = SplitAuditor(layout, table, None, 0).audit(word, needs_tags=True, needs_masks=True)
    own = [Finding(severity, word, word, word, word, word, word) for severity in ("broken", "remark")]
    named = dataclasses.replace(split, tags_from={word: 3})
    return page_of(Audited(word, layout, table, [named], [*split.findings, *own], word)).decode()


@pytest.mark.parametrize("page_with", [report_of, audit_of])
def test_hostile_texts_stay_text_everywhere(tmp_path: Path, page_with: Callable[[Path, str], str]) -> None:
    plain, hostile = page_with(tmp_path / "a", PLAIN), page_with(tmp_path / "b", HOSTILE)
    check_self_contained(hostile)
    outlines = [
        [(tag, *(name for name in attributes)) for tag, attributes in Outline(page).elements]
        for page in (plain, hostile)
    ]
    assert outlines[0] == outlines[1], "the same elements with the same attributes, whatever the texts are"
    assert Outline(hostile).text.count(HOSTILE) == Outline(plain).text.count(PLAIN) > 20


def test_a_name_that_is_not_utf8_is_shown_as_far_as_it_can_be(tmp_path: Path) -> None:
    assert "<h1>caf?</h1>" in write_report(make_run(tmp_path / "caf\udce9")).read_text()


@pytest.mark.parametrize("template", sorted(FOLDER.glob("*.j2")), ids=lambda path: path.name)
def test_no_template_turns_escaping_off(template: Path) -> None:
    text = template.read_text()
    assert "|safe" not in text.replace(" ", "") and "autoescape" not in text


def test_scores_and_confusion_are_tables_of_numbers(tmp_path: Path) -> None:
    run, other = make_run(tmp_path / "run"), make_run(tmp_path / "other")
    words = [word.strip() for word in read(write_report(run, compare=[other])).words if word.strip()]
    start = words.index("FNR")
    sizes = sum((index + 1) * 100 for index in range(TOY.num_classes))
    assert words[start + 1 : start + 11] == [
        TOY.names[0], f"{100 * 100 / sizes:.2f}", "run", "10.0", "0.100", "0.200", "other", "10.0", "0.100", "0.200",
    ]  # fmt: skip
    matrix = next(index for index, text in enumerate(words) if text.startswith("Rows are classes of the truth")) + 1
    assert words[matrix : matrix + TOY.num_classes] == list(TOY.names)
    assert words[matrix + TOY.num_classes :][:3] == [TOY.names[0], "90", "10"]
