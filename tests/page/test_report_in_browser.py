"""The report in a real browser: everything that its script does, by mouse and by keyboard, in both window sizes."""

import json
from pathlib import Path

import numpy as np
import pytest
from browser import Browser
from report_pages import NAMES, ODD, TOY, add_predictions, explored, make_run

from dhr.dataset.classes import load_classes
from dhr.disk.layout import RunFolder
from dhr.disk.mask import write_mask
from dhr.page.report import write_report

COLOURS = load_classes("voc").palette  # of classes of one's own
IDS = "[...document.querySelectorAll('#list .option .id')].map((each) => each.textContent)"
SHOWN = "document.querySelector('#shown-id').textContent"
ACTIVE = "document.activeElement"


def pixel(page: Browser, selector: str, x: int, y: int) -> list[int]:
    """What is drawn at a pixel of a map, as soon as it is drawn: then it has the size of the map."""
    canvas = f"document.querySelector({json.dumps(selector)})"
    page.wait(f"{canvas}.width === 32")
    copy = "Object.assign(document.createElement('canvas'), {width: 32, height: 24}).getContext('2d')"
    return list(page.run(f"(() => {{ const copy = {copy}; copy.drawImage({canvas}, 0, 0);"
                         f" return [...copy.getImageData({x}, {y}, 1, 1).data]; }})()"))  # fmt: skip


def by_score(made: Path, run: int = 0) -> list[str]:
    """Ids of all images, the worst first; those that the run did not predict last."""
    images = explored(made.read_text())["images"]
    return [each["id"] for each in sorted(images, key=lambda each: (each["miou"][run] is None, each["miou"][run]))]


# Which images


def test_all_images_are_there_the_worst_first(page: Browser, made: Path) -> None:
    assert page.run(IDS) == by_score(made) and len(by_score(made)) == 11
    assert page.run("document.querySelector('#tally').textContent") == "11 of 11 images"
    assert page.run(SHOWN) == by_score(made)[0]
    assert page.run("document.querySelectorAll('#list canvas').length") > 0


def test_orders(page: Browser, made: Path) -> None:
    images = explored(made.read_text())["images"]
    gains = {each["id"]: each["miou"][0] - each["miou"][1] for each in images if each["miou"][1] is not None}
    page.choose("#order", "best first")
    best = page.run(IDS)
    assert best[0] == "val_0" and best[-1] == by_score(made)[0]
    assert page.run(SHOWN) == "val_0", "another order is looked at from its beginning"
    for order, key in (("gained most", lambda each: -gains[each]), ("lost most", lambda each: gains[each]),
                       ("most changed", lambda each: -abs(gains[each]))):  # fmt: skip
        page.choose("#order", order)
        found = page.run(IDS)
        assert [round(key(each), 1) for each in found if each in gains] == sorted(round(key(each), 1) for each in gains)
        assert {*found[len(gains) :]} == {*by_score(made)} - {*gains}, "those without a change come last"
    page.choose("#order", "worst first")
    page.choose("#run-shown", "1")
    assert page.run(IDS)[:9] == by_score(made, run=1)[:9]
    page.choose("#order", "by id")
    assert page.run(IDS) == sorted(by_score(made))


def test_classes(page: Browser, made: Path) -> None:
    images = explored(made.read_text())["images"]
    options = page.run("[...document.querySelector('#class').options].map((each) => each.textContent)")
    counts = [sum(label in each["truth"] for each in images) for label in range(10)]
    assert options == ["all", *(f"{name} ({count})" for name, count in zip(NAMES, counts, strict=True))]
    assert page.run("document.querySelector('#where').disabled") is True
    page.choose("#class", "1")
    assert sorted(page.run(IDS)) == ["val_0", "val_8"]
    page.choose("#class", "7")
    assert page.run(IDS) == ["val_6"]
    page.choose("#where", "predicted, not in the truth")
    assert page.run(IDS) == [ODD]
    page.choose("#where", "in either")
    assert sorted(page.run(IDS)) == [ODD, "val_6"]
    page.choose("#class", "4")
    page.choose("#where", "in the truth, not found")
    assert page.run(IDS) == [ODD]
    assert page.run("document.querySelector('#tally').textContent") == "1 of 11 images"
    page.choose("#class", "9")
    assert page.run(IDS) == [] and "No image fits" in page.run("document.querySelector('#list').textContent")


def test_search_by_keyboard(page: Browser) -> None:
    page.press("/")
    assert page.run("document.activeElement.id") == "query"
    for key in "AL_7":
        page.press(key)
    assert page.run(IDS) == ["val_7"] and page.run(SHOWN) == "val_7"
    page.press("Escape")
    assert page.run(SHOWN) == "val_7", "what was found stays in sight"
    assert len(page.run(IDS)) == 11 and page.run("document.activeElement.id") == "list"


# Moves


def test_arrows_go_through_the_images(page: Browser, made: Path) -> None:
    ids = by_score(made)
    page.run("document.querySelector('#list').focus()")
    for key, place in (("ArrowRight", 1), ("ArrowDown", 4), ("ArrowLeft", 3), ("ArrowUp", 0), ("ArrowLeft", 0),
                       ("End", 10), ("ArrowRight", 10), ("Home", 0)):  # fmt: skip
        page.press(key)
        assert page.run(SHOWN) == ids[place], key
        active = page.run("document.querySelector('#list').getAttribute('aria-activedescendant')")
        chosen = page.run("[...document.querySelectorAll('[aria-selected=true]')].map((each) => each.id)")
        assert chosen == [active]
    page.click("#next")
    assert page.run(SHOWN) == ids[1]
    page.click("#list .option:nth-child(6)")
    assert page.run(SHOWN) == ids[5] and page.run("document.activeElement.id") == "list"


def test_tab_reaches_everything_and_shows_where_it_is(page: Browser) -> None:
    page.run("document.querySelector('#query').focus()")
    seen = []
    for _ in range(24):
        seen.append(page.run(f"{ACTIVE}.id || {ACTIVE}.className || {ACTIVE}.name"))
        outlined = f"({ACTIVE}.matches('[name=map]') ? {ACTIVE}.parentElement : {ACTIVE})"
        assert page.run(f"getComputedStyle({outlined}).outlineStyle") != "none"
        page.press("Tab")
    due = ["query", "class", "order", "run-shown", "against", "map", "opacity", "help-button", "previous", "next",
           "row-png", *["pick"] * 6, "shown-scores", "scores-csv", "list"]  # fmt: skip
    assert [each for each in seen if each in due][: len(due)] == due


# Maps


def test_maps_by_letter_and_by_mouse(page: Browser) -> None:
    page.run("document.querySelector('#explorer').scrollIntoView()")
    page.choose("#query", "val_2")
    page.run("document.querySelector('#list').focus()")
    chosen = "document.querySelector('#maps :checked').parentElement.textContent.trim()"
    colour, blue, orange = [*COLOURS[3], 255], [0, 114, 178, 255], [213, 94, 0, 255]
    # The square of the class lies in columns 6 to 17; the run misses the first two of them, the other the first four.
    for key, name, drawn in (
        ("t", "t truth", {7: colour, 9: colour, 2: [0] * 4}), ("1", "1 run", {7: [0] * 4, 9: colour}),
        ("2", "2 other", {9: [0] * 4, 11: colour}), ("e", "e errors", {7: blue, 9: [0] * 4}),
        ("c", "c change", {7: [0] * 4, 9: [0, 158, 115, 255], 11: [0] * 4}), ("p", "p photograph", {9: [0] * 4}),
    ):  # fmt: skip
        page.press(key)
        assert page.run(chosen) == name
        for x, expected in drawn.items():
            assert pixel(page, "#large canvas", x, 8) == expected, (key, x)
        assert page.run("document.querySelectorAll('.pick[aria-pressed=true]').length") == 1
    page.click("#strip figure:nth-child(5) button")
    assert page.run(chosen) == "e errors"
    page.choose("#query", "img")
    assert pixel(page, "#large canvas", 8, 8) != orange, "another class, not one instead of background"
    assert pixel(page, "#large canvas", 25, 8) == orange
    assert pixel(page, "#large canvas", 0, 23) in ([200, 200, 200, 255], [150, 150, 150, 255]), "ignored: hatched"
    page.press("2")
    assert "no such map" in page.run("document.querySelector('#shown-map').textContent")


def test_opacity(page: Browser) -> None:
    opacity = "getComputedStyle(document.querySelector('#large canvas')).opacity"
    assert page.run(opacity) == "0.6"
    page.run("document.querySelector('#opacity').focus()")
    page.press("ArrowLeft")
    assert page.run(opacity) == "0.55"
    page.choose("#opacity", "100")
    assert page.run(opacity) == "1" == page.run(opacity.replace("#large", "#list"))


def test_scores_of_the_image_stand_below_it(page: Browser, made: Path) -> None:
    page.choose("#query", "val_2")
    entry = next(each for each in explored(made.read_text())["images"] if each["id"] == "val_2")
    rows = page.run(
        "[...document.querySelectorAll('#shown-scores tr')]"
        ".map((row) => [...row.cells].map((each) => each.textContent))"
    )
    assert rows[0] == ["class", "run", "other"] and rows[1][0] == "mean" and rows[3][0] == NAMES[3]
    due = [entry["miou"], *(row[1:] for row in entry["ious"])]
    for row, known in zip(rows[1:], due, strict=True):
        assert [float(cell) for cell in row[1:]] == pytest.approx(known, abs=0.051)
    assert "saw IS" in page.run("document.querySelector('#strip').textContent")


# Help and colours


def test_help_and_keys_that_can_be_turned_off(page: Browser) -> None:
    page.run("document.querySelector('#list').focus(); document.querySelector('#explorer').scrollIntoView()")
    page.press("?", shift=True)
    assert page.run("document.querySelector('#help').open") is True
    page.run("document.querySelector('#keys-on').click()")
    page.press("Escape")
    assert page.run("document.querySelector('#help').open") is False
    page.press("t")
    assert page.run("document.querySelector('#maps :checked').value") == "2"
    page.press("ArrowRight")
    assert page.run(SHOWN) != page.run(f"{IDS}[0]"), "arrows are no letters"


@pytest.mark.parametrize("dark", [False, True])
def test_colours_follow_the_system_or_the_switch(page: Browser, made: Path, dark: bool) -> None:
    page.open(made, dark=dark)
    light, black = "rgb(251, 251, 250)", "rgb(21, 23, 27)"
    colour = "getComputedStyle(document.body).backgroundColor"
    assert page.run(colour) == (black if dark else light)
    page.choose("#theme", "light" if dark else "dark")
    assert page.run(colour) == (light if dark else black)


@pytest.mark.parametrize("dark", [False, True])
def test_texts_stand_out(page: Browser, made: Path, dark: bool) -> None:
    page.open(made, dark=dark)
    script = """(() => {
      const paint = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
      const rgb = (text) => { paint.clearRect(0, 0, 1, 1); paint.fillStyle = text; paint.fillRect(0, 0, 1, 1);
        return [...paint.getImageData(0, 0, 1, 1).data]; };
      const light = (colour) => colour.slice(0, 3).map((part) => part / 255)
        .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
        .reduce((sum, part, place) => sum + part * [0.2126, 0.7152, 0.0722][place], 0);
      const ground = (element) => { for (let each = element; each; each = each.parentElement) {
        const colour = rgb(getComputedStyle(each).backgroundColor); if (colour[3] === 255) return colour; } };
      const weak = [];
      const leftOut = 'script, svg, svg *, :disabled, option, dialog *, noscript, noscript *, .heat *';
      for (const element of document.querySelectorAll(`body *:not(${leftOut})`)) {
        const says = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
        if (!says || !element.checkVisibility()) continue;
        const [one, other] = [light(rgb(getComputedStyle(element).color)), light(ground(element))];
        const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
        if (contrast < 4.5) weak.push([element.textContent.slice(0, 30), element.className, contrast]);
      }
      return weak;
    })()"""
    assert page.run(script) == []


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_is_wider_than_the_window(page: Browser, made: Path, width: int) -> None:
    page.open(made, width=width)
    page.choose("#query", "img")
    for key in "ec":
        page.press(key)
    assert page.run("document.documentElement.scrollWidth") == width
    wide = page.run(
        "[...document.querySelectorAll('body *')].filter((each) => each.checkVisibility()"
        f" && !each.closest('.scroll, svg') && each.getBoundingClientRect().right > {width} + 0.5)"
        ".map((each) => each.className || each.tagName)"
    )
    assert wide == []
    small = page.run(
        "[...document.querySelectorAll('.explorer :is(button:not(.pick), select, input:not([type=radio]))')]"
        ".filter((each) => each.checkVisibility() && each.getBoundingClientRect().height < 24).map((each) => each.id)"
    )
    assert small == [], "too small for a finger"


# A run alone, and without script


def test_a_run_alone_has_nothing_beside_it(page: Browser, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    add_predictions(run)
    write_mask(RunFolder(run).masks("validation") / "val_3.png", np.full((24, 32), 77, np.uint8), TOY.palette)
    page.open(write_report(run))
    assert len(page.run(IDS)) == 10 and page.run("document.querySelectorAll('#maps label').length") == 4
    assert page.run("document.querySelector('#against').checkVisibility()") is False
    orders = page.run("[...document.querySelector('#order').options].map((each) => each.value)")
    assert orders == ["worst first", "best first", "by id"]
    page.choose("#query", "val_3")
    assert "class 77 (unknown)" in page.run("document.querySelector('#shown-scores').textContent")
    assert pixel(page, "#large canvas", 9, 8) == [255, 255, 255, 255]


def test_without_script_the_rest_is_there(page: Browser, made: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain.html"
    plain.write_text(made.read_text().replace("script-src 'sha256-", "script-src 'sha256-no"))
    page.open(plain)
    assert page.run("document.querySelector('#explorer').checkVisibility()") is False
    assert any("Content Security Policy" in text for text in page.complaints), "another script is not run"
    page.complaints.clear()
