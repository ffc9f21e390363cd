"""The images of a report: their scores, their small pictures, and what is said of those that are not there."""

import base64
import dataclasses
import io
import json
import math
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from report_pages import TOY, add_predictions, draw_scene, explored, make_run, png_of, read

from dhr.core.errors import InputError
from dhr.disk.atomic import write_atomically
from dhr.disk.layout import DataLayout, RunFolder
from dhr.disk.ledger import Ledger
from dhr.disk.mask import read_mask, write_mask
from dhr.evaluation.gallery import scaled
from dhr.page import explorer, report
from dhr.page.explorer import Explored, Source, rounded, see
from dhr.page.pictures import class_ious
from dhr.page.render import templates
from dhr.page.report import write_report
from dhr.page.runs import RunData
from dhr.page.thumbnails import SIDES, stacked_png, thumbnails

HOSTILE = "</script><!--<script>\"'&\u2028\u00e9{{ 7*7 }}"


def picture_of(address: str) -> np.ndarray:
    """The values of a data: address of a picture, as Pillow reads them."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))))


def naive_iou(mask: np.ndarray, truth: np.ndarray, label: int) -> float | None:
    pairs = [(int(seen), int(true)) for seen, true in zip(mask.ravel(), truth.ravel(), strict=True) if true != 255]
    union = [pair for pair in pairs if label in pair]
    return 100 * sum(seen == true for seen, true in union) / len(union) if union else None


# Small pictures


@pytest.mark.parametrize(("labels", "bits"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 4), (16, 4), (17, 8), (256, 8)])
def test_stacked_maps_are_plain_palette_pngs(labels: int, bits: int) -> None:
    known = np.sort(np.random.default_rng(labels).choice(256, labels, replace=False)).astype(np.uint8)
    maps = known[np.random.default_rng(1).integers(0, labels, (9, 13))]
    data = stacked_png(maps, known, TOY.palette)
    opened = Image.open(io.BytesIO(data))
    assert opened.mode == "P" and data[24] == bits and np.array_equal(known[np.asarray(opened)], maps)
    palette = np.array(opened.getpalette()).reshape(-1, 3)[:labels]
    assert all(tuple(colour) == TOY.palette[label] for label, colour in zip(known, palette, strict=True) if label < 10)
    start = data.index(b"IDAT") + 4
    rows = zlib.decompress(data[start : start + int.from_bytes(data[start - 8 : start - 4])])
    assert set(rows[:: math.ceil(13 * bits / 8) + 1]) == {0}, "no row is filtered"


def test_thumbnails_hold_the_maps_exactly_at_their_size() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (300, 400, 3), dtype=np.uint8)
    maps = [np.kron(rng.choice([0, 3, 255], (30, 40)), np.ones((10, 10))).astype(np.uint8) for _ in range(3)]
    whole, small, least = (thumbnails(image, maps, TOY.palette, limit=limit) for limit in (10**9, 30_000, 1))
    for made in (whole, small, least):
        photo, stacked = picture_of(made["photo"]), picture_of(made["maps"])
        side = photo.shape[1]
        assert np.array_equal(np.array(made["labels"])[stacked], np.concatenate([scaled(each, side) for each in maps]))
        assert stacked.shape == (3 * photo.shape[0], side) and made["photo"].startswith("data:image/jpeg")
    sides = [picture_of(made["photo"]).shape[1] for made in (whole, small, least)]
    assert sides[0] == 400 and sides[1] in SIDES[1:-1] and sides[2] == SIDES[-1]
    assert len(small["photo"]) + len(small["maps"]) <= 30_000


def test_a_tiny_image_keeps_every_pixel() -> None:
    image, mask = draw_scene(2)
    made = thumbnails(image, [mask], TOY.palette, limit=10**6)
    assert np.array_equal(picture_of(made["photo"]), image) and made["photo"].startswith("data:image/png")
    assert np.array_equal(np.array(made["labels"])[picture_of(made["maps"])], mask)


# Scores


def test_class_ious_against_a_plain_count() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        mask, truth = rng.choice([0, 1, 2, 7, 255], (2, 6, 5)).astype(np.uint8)
        expected = {label: naive_iou(mask, truth, label) for label in (0, 1, 2, 7)}
        assert class_ious(mask, truth) == pytest.approx(
            {label: iou for label, iou in expected.items() if iou is not None}
        )


def test_the_page_holds_every_image_with_its_scores_and_maps(tmp_path: Path) -> None:
    run, other = make_run(tmp_path / "run"), make_run(tmp_path / "other")
    add_predictions(run)
    add_predictions(other, shift=2, images=7)
    given = tmp_path / "given" / "validation"
    write_mask(given / "val_3.png", draw_scene(4)[1], TOY.palette)
    masks = f"{tmp_path / 'given'}/{{split}}"
    data = explored(write_report(run, compare=[other], wss_masks=masks).read_text())
    assert [source["name"] for source in data["sources"]] == ["truth", "WSS mask", "run", "other"]
    assert [source["run"] for source in data["sources"]] == [None, None, 0, 1]
    assert data["classes"] == list(TOY.names) and [entry["id"] for entry in data["images"]] == [
        f"val_{index}" for index in range(10)
    ]
    third, last = data["images"][3], data["images"][9]
    assert (third["shown"], last["shown"]) == ([0, 1, 2, 3], [0, 2]) and last["miou"][1] is None
    truth = read_mask(DataLayout(tmp_path / "data", "Toy").mask("validation", "val_3"))
    predictions = [read_mask(RunFolder(folder).masks("validation") / "val_3.png") for folder in (run, other)]
    stacked = np.array(third["labels"])[picture_of(third["maps"])]
    assert np.array_equal(stacked, np.concatenate([truth, draw_scene(4)[1], *predictions]))
    assert third["truth"] == [0, 4] and third["size"] == [32, 24]
    expected = [[label, *(naive_iou(mask, truth, label) for mask in predictions)] for label in (0, 4)]
    for told, known in zip(third["ious"], expected, strict=True):
        assert told == pytest.approx(known, abs=0.05)
    assert third["miou"] == pytest.approx([np.mean([row[place] for row in expected]) for place in (1, 2)], abs=0.05)


@pytest.mark.parametrize(("iou", "told"), [(0.0, 0.0), (1e-6, 0.01), (12.344, 12.34), (100.0, 100.0), (None, None)])
def test_only_nothing_is_told_as_nothing(iou: float | None, told: float | None) -> None:
    assert rounded(iou) == told


def test_a_class_that_is_only_predicted_has_a_score_of_nothing() -> None:
    truth, mask = np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8)
    mask[0], truth[3] = 6, 255
    found = class_ious(mask, truth)
    assert found == {0: pytest.approx(100 * 8 / 12), 6: 0.0}
    assert class_ious(truth, np.full_like(truth, 255)) == {}


def test_nothing_is_left_out_without_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path / "run")
    add_predictions(run)
    layout = DataLayout(tmp_path / "data", "Toy")
    (layout.mask("validation", "val_0")).unlink()
    (RunFolder(run).masks("validation") / "val_1.png").unlink()
    said = " ".join(read(write_report(run)).text.split())
    assert "has 10 images; this run has predictions of 9, and 8 of them have a truth. All of these are on" in said
    monkeypatch.setattr(explorer, "MOST", 3)
    page = write_report(run)
    assert "8 of them have a truth. 3 of these are on this page, spread evenly" in " ".join(read(page).text.split())
    assert [entry["id"] for entry in explored(page.read_text())["images"]] == ["val_3", "val_6", "val_8"]


def test_runs_without_a_map_to_show_are_named(tmp_path: Path) -> None:
    run, other = make_run(tmp_path / "run"), make_run(tmp_path / "elsewhere")
    idle = make_run(tmp_path / "idle")
    add_predictions(run)
    add_predictions(other)
    config = RunFolder(other).config
    config.write_text(config.read_text().replace("classes: toy", "classes: voc"))
    page = write_report(run, compare=[other, idle], wss_masks=str(tmp_path / "nowhere"))
    assert "elsewhere was trained on other classes or other data and is left out" in read(page).text
    assert "idle has predicted none of these images and is left out" in read(page).text
    assert [source["name"] for source in explored(page.read_text())["sources"]] == ["truth", "run"]


@pytest.mark.parametrize("broken", ["prediction", "truth", "image"])
def test_what_does_not_fit_together_is_named(tmp_path: Path, broken: str) -> None:
    run = make_run(tmp_path / "run")
    add_predictions(run)
    layout, small = DataLayout(tmp_path / "data", "Toy"), np.zeros((5, 5), np.uint8)
    path = {
        "prediction": RunFolder(run).masks("validation") / "val_4.png",
        "truth": layout.mask("validation", "val_4"),
        "image": layout.image("validation", "val_4"),
    }[broken]
    path.write_bytes(b"x")
    with pytest.raises(InputError, match="val_4"):
        write_report(run)
    path.write_bytes(png_of(np.zeros((5, 5, 3), np.uint8)) if broken == "image" else b"")
    if broken != "image":
        write_mask(path, small, TOY.palette)
    with pytest.raises(InputError, match=r"val_4.*\(5, 5\).*run python -m dhr"):
        write_report(run)


def test_predictions_that_were_changed_are_refused(tmp_path: Path) -> None:
    run, other = make_run(tmp_path / "run"), make_run(tmp_path / "other")
    add_predictions(run)
    add_predictions(other)
    folder = RunFolder(other).masks("validation")
    Ledger(folder).open("what made them")  # and knows none of them
    with pytest.raises(InputError, match=r"validation.*dhr\.predict run=.*other"):
        write_report(run, compare=[other])


# Size


def test_the_page_stays_below_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path / "run")
    layout, rng = DataLayout(tmp_path / "data", "Toy"), np.random.default_rng(0)
    for number in range(9):
        noise = rng.integers(0, 256, (300, 400, 3), dtype=np.uint8)
        write_atomically(layout.image("validation", f"i{number}").with_suffix(".png"), png_of(noise))
        for path in (layout.mask("validation", f"i{number}"), RunFolder(run).masks("validation") / f"i{number}.png"):
            write_mask(path, rng.integers(0, 9, (300, 400), dtype=np.uint8), TOY.palette)
    monkeypatch.setattr(Explored, "extremes", lambda self: {})  # which are a part of OTHERS
    whole = write_report(run).stat().st_size
    monkeypatch.setattr(report, "OTHERS", 120_000)
    monkeypatch.setattr(report, "PAGE", 700_000)
    assert whole > 900_000 and 350_000 < write_report(run).stat().st_size < 700_000


# Names


def test_hostile_names_of_classes_and_images_stay_data(tmp_path: Path) -> None:
    image, mask = draw_scene(1)
    write_mask(tmp_path / "truth" / "x.png", mask, TOY.palette)
    table = dataclasses.replace(TOY, names=tuple(f"{HOSTILE}{index}" for index in range(10)))
    data = RunData(table, DataLayout(tmp_path, "Toy"), ("validation",))
    sources = [Source("truth", "", tmp_path / "truth"), Source(HOSTILE, HOSTILE, tmp_path / "truth", 0)]
    seen = dataclasses.replace(see("x", image, sources, TOY.palette, 10**6), id=HOSTILE)
    entry = Explored("validation", data, sources=sources, images=[seen]).entry
    text = templates().from_string("{{ entry|tojson }}").render(entry=entry)
    assert not set("<>&'\u2028\u00e9") & set(text)
    told = json.loads(text)
    assert told["images"][0]["id"] == HOSTILE and told["sources"][1]["name"] == HOSTILE
    assert told["classes"] == list(table.names)


def test_a_run_without_predictions_has_no_images(tmp_path: Path) -> None:
    assert explored(write_report(make_run(tmp_path / "run")).read_text()) is None
