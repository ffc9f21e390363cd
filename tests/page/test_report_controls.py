"""Every control of the report in a real browser, and how its parts stand on a desk and on a phone."""

import json
from pathlib import Path

import pytest
from browser import Browser
from report_pages import RECORD, add_predictions, make_run, scores_of

from dhr.disk.atomic import write_json
from dhr.disk.layout import RunFolder
from dhr.page.report import write_report

SHOWN = "document.querySelector('#shown-id').textContent"
LONG = "second_stage_8-mask2former_small-with_a_long_name-seed1"
WIDTHS = {"desk": 1280, "phone": 390}


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with all columns that there are, of runs with long names, in two splits and of two definitions."""
    root = tmp_path_factory.mktemp("full")
    columns = {
        "miou_interval": [60.12, 70.34], "boundary": {"miou": 51.2}, "small": {"miou": 40.0, "mfnr": 0.4},
        "small_mfnr": 0.3, "images": 1449, "extra": 3,
    }  # fmt: skip
    runs = [make_run(root / name, record={**RECORD, "saw": {"wss": "IST"}}) for name in (LONG, "b", "c", "d")]
    for number, run in enumerate(runs):
        told = f"one matrix; summed; boundary: of the contour {number % 2}"
        entry = scores_of(60.0 + number, **columns, missing=number, dataset=f"toy{number % 2}", definition=told)
        write_json(RunFolder(run).scores("validation"), entry)
    write_json(RunFolder(runs[0]).scores("train"), scores_of(75.0, **columns, split="train", definition="one matrix"))
    add_predictions(runs[0])
    for run in runs[1:]:
        add_predictions(run, shift=2)
    return write_report(runs[0], compare=runs[1:])


def open_at(opened: Browser, made: Path, where: str) -> Browser:
    opened.open(made, width=WIDTHS[where], height=844)
    return opened


# Controls


def test_every_map_by_mouse(page: Browser) -> None:
    count = page.run("document.querySelectorAll('#maps label').length")
    assert count == 6
    for place in range(count):
        page.click(f"#maps label:nth-of-type({place + 1})")
        assert page.run("document.querySelector('#maps :checked').value") == str(place)
        page.click(f"#strip figure:nth-child({count - place}) button")
        assert page.run("document.querySelector('#maps :checked').value") == str(count - place - 1)


def test_previous_and_next(page: Browser) -> None:
    first = page.run(SHOWN)
    page.click("#next")
    second = page.run(SHOWN)
    page.click("#previous")
    assert page.run(SHOWN) == first != second


def test_help_by_mouse(page: Browser) -> None:
    page.click("#help-button")
    assert page.run("document.querySelector('#help').open") is True
    page.click("#keys-on")
    page.click("#help form button")
    assert page.run("document.querySelector('#help').open") is False
    page.press("t")
    assert page.run("document.querySelector('#maps :checked').value") == "2", "letters are no keys any more"


def test_every_section_is_reached_and_every_part_opens(page: Browser) -> None:
    links = page.run("[...document.querySelectorAll('nav a')].map((link) => link.hash)")
    assert links == ["#scores", "#images", "#classes", "#confusion", "#curves", "#tau", "#pictures", "#run"]
    for link in links:
        page.run("document.querySelector('nav').scrollIntoView()")
        page.click(f'nav a[href="{link}"]')
        page.wait(f"document.querySelector('{link} h2').getBoundingClientRect().top < innerHeight")
    for number in range(page.run("document.querySelectorAll('summary').length")):
        summary = f"document.querySelectorAll('summary')[{number}]"
        page.run(f"{summary}.id = 'part-{number}'")
        was = page.run(f"{summary}.parentElement.open")
        page.click(f"#part-{number}")
        assert page.run(f"{summary}.parentElement.open") is not was


def test_every_chart_is_saved_in_both_forms(page: Browser) -> None:
    labels = page.run("[...document.querySelectorAll('[aria-label$=\" as SVG\"]')].map((each) => each.ariaLabel)")
    for label in labels:
        name = page.run(f"stem({json.dumps(label.removesuffix(' as SVG'))})")
        page.click(f"[aria-label={json.dumps(label)}]")
        assert page.saved(f"{name}.svg").startswith(b"<svg")
        page.click(f"[aria-label={json.dumps(label.replace('SVG', 'PNG'))}]")
        assert page.saved(f"{name}.png").startswith(b"\x89PNG")


def test_every_table_is_copied(page: Browser) -> None:
    page.run("navigator.clipboard.writeText = (text) => { window.copied = text; return Promise.resolve(); }")
    labels = page.run("[...document.querySelectorAll('[aria-label^=\"Copy \"]')].map((each) => each.ariaLabel)")
    assert len(labels) == 12, "Scores, scores per class, the confusion matrix, and where runs differ"
    for label in labels:
        page.run("window.copied = ''")
        page.click(f"[aria-label={json.dumps(label)}]")
        page.wait("copied !== ''")


def test_the_opacity_is_said(page: Browser) -> None:
    assert page.run("document.querySelector('#opacity-said').value") == "60 %"
    page.choose("#opacity", "25")
    assert page.run("document.querySelector('#opacity-said').value") == "25 %"


# How it stands


def test_on_a_desk_nothing_is_scrolled_sideways(opened: Browser, full: Path) -> None:
    page = open_at(opened, full, "desk")
    heads = page.run("[...document.querySelectorAll('#scores thead th')].map((each) => each.textContent)")
    assert {"scored", "saw", "data set", "split", "95\u00a0% interval", "missing", "extra"} <= {*heads}
    scrolled = (
        "[...document.querySelectorAll('.scroll')].filter((each) => each.checkVisibility()"
        " && each.scrollWidth > each.clientWidth).map((each) => each.ariaLabel)"
    )
    assert page.run(scrolled) == []


@pytest.mark.parametrize("where", WIDTHS)
def test_rows_of_small_maps_are_alike(opened: Browser, full: Path, where: str) -> None:
    page = open_at(opened, full, where)
    tops = page.run("[...document.querySelectorAll('#strip figure')].map((each) => each.getBoundingClientRect().top)")
    rows = [tops.count(top) for top in dict.fromkeys(tops)]
    assert rows == {"desk": [8], "phone": [4, 4]}[where]


@pytest.mark.parametrize("where", WIDTHS)
def test_lines_go_through_the_whole_table(opened: Browser, full: Path, where: str) -> None:
    """The first column stays in sight when a table is scrolled, and must not hide the lines below its rows."""
    page = open_at(opened, full, where)
    page.run("document.querySelector('#scores .scroll').scrollLeft = 200")
    box = page.run("(({x, y}) => [x, y])(document.querySelector('#scores tbody th').getBoundingClientRect())")
    assert box[0] == page.run("document.querySelector('#scores .scroll').getBoundingClientRect().x")
    collapse = "getComputedStyle(document.querySelector('#scores table')).borderCollapse"
    assert page.run(collapse) == "separate"


def test_rows_of_one_split_stand_together(opened: Browser, full: Path) -> None:
    page = open_at(opened, full, "desk")
    rows = page.run(
        "[...document.querySelectorAll('#scores tbody tr')].slice(0, 5)"
        ".map((row) => [row.cells[0].textContent, row.cells[3].textContent, row.className])"
    )
    assert rows == [
        [LONG, "validation", ""], *([name, "validation", ""] for name in "bcd"), [LONG, "train", "other-split"],
    ]  # fmt: skip
    told = page.run(
        "[...document.querySelectorAll('.definitions h3, .definitions li')].map((each) => each.textContent)"
    )
    assert told == [
        f"{LONG}, c", "one matrix; summed", "boundary: of the contour 0",
        "b, d", "one matrix; summed", "boundary: of the contour 1", LONG, "one matrix",
    ]  # fmt: skip


def test_on_a_phone_the_picture_stands_below_the_list(opened: Browser, full: Path) -> None:
    """A list above it would have to be scrolled away before one sees what was chosen."""
    page = open_at(opened, full, "phone")
    tops = page.run("[...document.querySelectorAll('#list .option')].map((each) => each.getBoundingClientRect().top)")
    assert len({*tops}) == 1, "one row"
    page.click("#list .option:nth-child(2)")
    assert page.run(SHOWN) == page.run("document.querySelector('#list .option:nth-child(2) .id').textContent")
    list_, large = (page.run(f"document.querySelector('{each}').getBoundingClientRect().top") for each in
                    ("#list", "#large"))  # fmt: skip
    assert 0 < large - list_ < 260
    page.run("document.querySelector('#list').focus()")
    for key, place in (("End", 10), ("ArrowUp", 9), ("ArrowDown", 10), ("Home", 1)):
        page.press(key)
        assert page.run(SHOWN) == page.run(
            f"document.querySelector('#list .option:nth-child({place}) .id').textContent"
        )
        seen = page.run(
            "(({left, right}) => [left, right])(document.querySelector('[aria-selected=true]').getBoundingClientRect())"
        )
        assert seen[0] >= 0 and seen[1] <= 390, "what is chosen is in sight"


def test_under_a_finger_nothing_is_small(opened: Browser, full: Path) -> None:
    page = open_at(opened, full, "phone")
    small = page.run(
        "[...document.querySelectorAll('button, select, input[type=search], #maps label, nav a, summary')]"
        ".filter((each) => each.checkVisibility() && each.getBoundingClientRect().height < 36)"
        ".map((each) => each.outerHTML)"
    )
    assert small == []
    letters = page.run("[...document.querySelectorAll('.field :is(select, [type=search])')]"
                       ".map((each) => getComputedStyle(each).fontSize)")  # fmt: skip
    assert {*letters} == {"16px"}, "smaller ones make a phone enlarge the page"
