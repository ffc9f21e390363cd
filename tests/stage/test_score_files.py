"""What `dhr.evaluate` scores and writes: masks where the VOC server has them, tables beside the scores, both rules."""

import csv
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import SIDE, Tiny

from dhr.core.errors import InputError
from dhr.dataset.classes import load_classes
from dhr.dataset.toy.toy_set import write_toy
from dhr.disk.atomic import read_json
from dhr.disk.layout import DataLayout
from dhr.disk.mask import read_mask, write_mask

TOY, VOC = load_classes("toy"), load_classes("voc")
TREE = "results/VOC2012/Segmentation"


@pytest.fixture
def there(tmp_path: Path) -> Tiny:
    """Images with their truth."""
    write_toy(tmp_path / "data", splits={"train": 1, "validation": 3}, image_size=SIDE)
    return Tiny(tmp_path)


def predict(there: Tiny, folder: Path, split: str = "validation") -> None:
    """Masks that are nearly the truth."""
    for image_id in there.layout.ids(split):
        write_mask(
            folder / f"{image_id}.png", np.roll(read_mask(there.layout.mask(split, image_id)), 2, 1), TOY.palette
        )


@pytest.mark.parametrize(("tree", "named"), [
    (f"validation/{TREE}/comp5_val_cls", "."), (f"validation/{TREE}/comp6_val_cls", "."),
    (f"{TREE}/comp5_val_cls", "."), (f"a/b/{TREE}/comp5_val_cls", "."),
    (f"validation/{TREE}/comp5_val_cls", f"validation/{TREE}"), (f"{TREE}/comp6_val_cls", "results/VOC2012"),
    (f"{TREE}/comp5_val_cls", f"{TREE}/comp5_val_cls"),
])  # fmt: skip
def test_masks_are_found_where_the_server_has_them(
    there: Tiny, tree: str, named: str, caplog: pytest.LogCaptureFixture
) -> None:
    given, folder = there.root / "submissions_x" / named, there.root / "submissions_x" / tree
    predict(there, folder)
    predict(there, folder.with_name("comp5_train_cls"), "train")  # another split is none of this one's business
    with caplog.at_level(logging.INFO, "dhr.evaluate"):
        there.call("evaluate", f"masks={given}", "dataset=toy")
    scores = read_json(given.resolve().with_name(f"{given.resolve().name}.validation.scores.json"))
    assert (Path(scores["masks"]).resolve(), scores["images"]) == (folder, 3)
    assert (f"those in {folder}" in caplog.text.replace("/./", "/")) == (given.resolve() != folder)


def test_two_folders_of_one_split_are_not_chosen_between(there: Tiny) -> None:
    folders = [there.root / "x" / TREE / f"{name}_val_cls" for name in ("comp5", "comp6")]
    for folder in folders:
        predict(there, folder)
    with pytest.raises(InputError, match=f"{folders[0]} and in {folders[1]}; choose with masks={folders[0]}"):
        there.call("evaluate", f"masks={there.root / 'x'}", "dataset=toy")


def test_a_server_tree_of_another_split_is_not_scored(there: Tiny) -> None:
    predict(there, there.root / "x" / TREE / "comp5_test_cls")
    with pytest.raises(InputError, match="holds no masks of an image of this split"):
        there.call("evaluate", f"masks={there.root / 'x'}", "dataset=toy")


def test_tables_lie_beside_the_scores(there: Tiny, caplog: pytest.LogCaptureFixture) -> None:
    predict(there, there.root / "masks")
    with caplog.at_level(logging.INFO, "dhr.evaluate"):
        there.call("evaluate", f"masks={there.root / 'masks'}", "dataset=toy")
    path = there.root / "masks.validation.scores.json"
    scores = read_json(path)
    low, high = scores["miou_interval"]
    assert low <= scores["miou"] <= high
    assert f"{low:.1f}..{high:.1f}" in caplog.text and f"{scores['boundary']['miou']:.1f}" in caplog.text
    rows = list(csv.DictReader(path.with_suffix(".csv").read_text().splitlines()))
    assert [row["class"] for row in rows] == [*TOY.names, "mean"]
    mean = rows[-1]
    assert (mean["iou"], mean["fpr"]) == (f"{scores['miou']:.1f}", f"{scores['mfpr']:.3f}")
    assert (mean["iou_low"], mean["boundary_iou"]) == (f"{low:.1f}", f"{scores['boundary']['miou']:.1f}")
    assert int(mean["truth_pixels"]) == np.sum(scores["confusion"])
    nowhere = next(entry for entry in scores["classes"] if entry["iou"] is None)
    assert nowhere["iou_interval"] is nowhere["boundary_iou"] is None
    assert rows[TOY.names.index(nowhere["name"])]["iou"] == ""
    text = path.with_suffix(".md").read_text()
    assert [cell.strip() for cell in text.splitlines()[4 + len(TOY.names)].split("|")][1:4] == [
        "mean", mean["iou"], f"{low:.1f}..{high:.1f}"
    ]  # fmt: skip
    assert [row["below"] for row in scores["objects"]] == [0.01, 0.05]
    assert "| objects on less than |" in text and "objects: connected parts" in scores["definition"]
    assert scores["definition"] in text and "3 images, 0 missing" in text
    assert {each.name for each in there.root.iterdir()} == {
        "data", "masks", *(f"masks.validation.scores.{ending}" for ending in ("json", "csv", "md"))
    }  # fmt: skip


def rgb(folder: Path, name: str) -> None:
    Image.fromarray(np.zeros((SIDE, SIDE, 3), np.uint8)).save(folder / name)


def unclassed(folder: Path, name: str) -> None:
    write_mask(folder / name, np.full((SIDE, SIDE), 255, np.uint8), TOY.palette)


def of_another_set(folder: Path, name: str) -> None:
    Image.fromarray(np.full((SIDE, SIDE), 20, np.uint8)).save(folder / name)


def smaller(folder: Path, name: str) -> None:
    write_mask(folder / name, np.zeros((9, 7), np.uint8), TOY.palette)


def missing(folder: Path, name: str) -> None:
    (folder / name).unlink()


def extra(folder: Path, name: str) -> None:
    shutil.copy(folder / name, folder / "2007_000033.png")


def renamed(folder: Path, _: str) -> None:
    for path in sorted(folder.iterdir()):
        path.rename(folder / f"COCO_{path.name}")


def permuted(folder: Path, name: str) -> None:
    write_mask(folder / name, np.eye(SIDE, dtype=np.uint8), [TOY.palette[0], *TOY.palette[:0:-1]])


@pytest.mark.parametrize(("damage", "said"), [
    (rgb, "validation_00001.png: mode RGB: .*; write the class indices themselves"),
    (unclassed, "validation_00001: the prediction has label 255 .*; 255 stands for no class.*predict these masks anew"),
    (of_another_set, "validation_00001: the prediction has label 20 .*made for another data set.*dataset="),
    (smaller, r"validation_00001.png: size \(9, 7\): the truth has \(48, 48\) .*; predict it at the size of its image"),
    (missing, r"1 masks are missing \(validation_00001\); predict them"),
    (extra, r"1 masks of no image \(2007_000033\); move them away, or leave strict=true out"),
    (renamed, "holds no masks of an image of this split; it holds COCO_validation_00000.*another data set.*dataset="),
    (permuted, "validation_00001.png: its palette .*restore the original"),
])  # fmt: skip
def test_masks_that_cannot_be_scored_are_named_with_a_cure(
    there: Tiny, damage: Callable[[Path, str], None], said: str
) -> None:
    folder = there.root / "masks"
    predict(there, folder)
    damage(folder, "validation_00001.png")
    with pytest.raises(InputError, match=said):
        there.call("evaluate", f"masks={folder}", "dataset=toy", "strict=true")
    assert {path.name for path in there.root.iterdir()} == {"data", "masks"}


def make_voc(root: Path, pairs: dict[str, tuple[np.ndarray, np.ndarray]], folder: str = "VOC2012") -> Path:
    """A validation split of the truths, and the folder of the predictions."""
    layout = DataLayout(root / "data", folder)
    for image_id, (prediction, truth) in pairs.items():
        write_mask(layout.mask("validation", image_id), truth, VOC.palette)
        write_mask(root / "masks" / f"{image_id}.png", prediction, VOC.palette)
        image = layout.image("validation", image_id)
        image.parent.mkdir(parents=True, exist_ok=True)
        image.touch()  # listed, not read
    return root / "masks"


def evaluated(root: Path, *words: str, kind: str = "scores") -> dict[str, object]:
    Tiny(root).call("evaluate", "dataset=voc", f"masks={root / 'masks'}", *words)
    found: dict[str, object] = read_json(root / f"masks.validation.{kind}.json")
    return found


@pytest.mark.parametrize("rule", ["dhr", "released"])
def test_the_released_evaluator_through_the_command(shared: Path, tmp_path: Path, rule: str) -> None:
    masks = np.load(shared / "golden" / "official_evaluation.npz")
    expected = json.loads((shared / "golden" / "official_evaluation.json").read_text())
    make_voc(tmp_path, {f"2007_00000{n}": (masks[f"pred_{n}"], masks[f"gt_{n}"]) for n in range(6)})
    scores = evaluated(tmp_path, f"rule={rule}", kind="released" if rule == "released" else "scores")
    means = [scores[key] for key in ("miou", "mfpr", "mfnr")]
    assert means == pytest.approx([expected[key] for key in ("mIoU_percent", "mFPR", "mFNR")], abs=1e-6)
    for entry in scores["classes"]:  # type: ignore[attr-defined]
        one = expected["per_class"].get(entry["name"])
        assert (one is None) == (entry["iou"] is None)
        ours = [entry[key] for key in ("iou", "fpr", "fnr")]
        assert one is None or ours == pytest.approx([one[key] for key in ("IoU", "FPR", "FNR")], abs=1e-6)


def made() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """An image with an object, one with background and 255 alone, and one whose prediction will be missing."""
    plain = np.zeros((8, 8), np.uint8)
    cat, void = plain.copy(), plain.copy()
    cat[:4], void[0] = 8, 255
    wrong = np.full((8, 8), 8, np.uint8)
    return {"2007_000001": (cat, cat), "2007_000002": (wrong, void), "2007_000003": (wrong, cat)}


@pytest.mark.parametrize("kind", ["released", "ours"])
@pytest.mark.parametrize("folder", ["VOC2012", "COCO2014"])
def test_the_released_rule_leaves_images_out(tmp_path: Path, kind: str, folder: str) -> None:
    masks = make_voc(tmp_path, made(), folder)
    (masks / "2007_000003.png").unlink()
    words = (f"dataset.folder={folder}", *(("rule=released",) if kind == "released" else ("allow_missing=true",)))
    scores = evaluated(tmp_path, *words, kind="released" if kind == "released" else "scores")
    left_out = int(kind == "released" and folder == "VOC2012")
    assert (scores["images"], scores["missing"], scores.get("left_out", 0)) == (2 - left_out, 1, left_out)
    hit, union = 32, 32 + (0 if left_out else 56)  # 8 pixels of the second image are ignored
    assert scores["classes"][8]["iou"] == pytest.approx(100 * hit / union)  # type: ignore[index]
    assert (scores.get("rule"), "RULE=RELEASED" in str(scores["definition"])) == (
        ("released", True) if kind == "released" else (None, False)
    )
    assert (tmp_path / "masks.validation.scores.json").exists() == (kind == "ours")  # never in each other's place


def test_nothing_but_background_is_no_score(tmp_path: Path) -> None:
    make_voc(tmp_path, {"2007_000002": made()["2007_000002"]})
    scores = evaluated(tmp_path, "rule=released", kind="released")
    assert (scores["images"], scores["left_out"], scores["miou"], scores["miou_interval"]) == (0, 1, None, None)
