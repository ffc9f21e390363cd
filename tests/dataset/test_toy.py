"""The generated data set: repeatable, balanced, and spoiled in the way weak supervision spoils masks."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dhr.core.errors import InputError
from dhr.dataset.classes import load_classes
from dhr.dataset.toy.shapes import OUTLINES
from dhr.dataset.toy.toy_set import FOLDER, make_scene, simulate_wss_mask, write_toy
from dhr.disk.annotation import read_tags
from dhr.disk.image import read_image
from dhr.disk.layout import DataLayout
from dhr.disk.mask import read_mask

TABLE = load_classes("toy")
LARGE = [TABLE.names.index(name) for name in ("ember_disc", "moss_square", "azure_flower")]
SMALL = [label for label in range(TABLE.first_tag, TABLE.num_classes) if label not in LARGE]


def contents(root: Path) -> dict[str, tuple[bytes, int]]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def test_layout_and_tags(tmp_path: Path) -> None:
    write_toy(tmp_path, splits={"train": 3, "validation": 2}, image_size=64)
    layout = DataLayout(tmp_path, FOLDER)
    assert layout.ids("train") == ["train_00000", "train_00001", "train_00002"]
    assert layout.ids("validation") == ["validation_00000", "validation_00001"]
    for image_id in layout.ids("train"):
        mask = read_mask(layout.mask("train", image_id))
        assert read_image(layout.image("train", image_id)).shape == (64, 64, 3)
        assert read_tags(layout.tags("train", image_id), TABLE.names) == [TABLE.names[k] for k in np.unique(mask) if k]
        assert read_mask(tmp_path / "WSS" / FOLDER / "Simulated" / "train" / f"{image_id}.png").shape == (64, 64)
    assert not (tmp_path / "WSS" / FOLDER / "Simulated" / "validation").exists()


def test_more_images_leave_the_earlier_ones_alone(tmp_path: Path) -> None:
    write_toy(tmp_path, splits={"train": 2}, image_size=64)
    before = contents(tmp_path)
    write_toy(tmp_path, splits={"train": 3, "validation": 1}, image_size=64)
    after = contents(tmp_path)
    assert len(after) == len(before) + 4 + 3
    assert {path: after[path] for path in before} == before


def test_a_broken_file_is_made_again(tmp_path: Path) -> None:
    write_toy(tmp_path, splits={"train": 1}, image_size=64)
    whole = {path: data for path, (data, _) in contents(tmp_path).items()}
    mask = DataLayout(tmp_path, FOLDER).mask("train", "train_00000")
    mask.write_bytes(mask.read_bytes()[:50])
    write_toy(tmp_path, splits={"train": 1}, image_size=64)
    assert {path: data for path, (data, _) in contents(tmp_path).items()} == whole


@pytest.mark.parametrize(
    ("change", "message"),
    [({"seed": 8}, "'seed': 8"), ({"splits": {"train": 1}}, "holds 2 images"), ({"image_size": 8}, "use 32 or more")],
)
def test_two_toy_sets_are_not_mixed(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    asked: dict[str, Any] = {"splits": {"train": 2}, "image_size": 64, "seed": 7}
    write_toy(tmp_path, **asked)
    before = contents(tmp_path)
    with pytest.raises(InputError, match=message):
        write_toy(tmp_path, **{**asked, **change})
    assert contents(tmp_path) == before


@pytest.mark.parametrize("size", [32, 96, 150])
def test_scenes_hold_two_to_four_classes(size: int) -> None:
    for number in range(8):
        scene = make_scene(np.random.default_rng(number), size)
        assert scene.image.shape == (size, size, 3) and scene.mask.shape == (size, size)
        assert scene.image.dtype == scene.mask.dtype == np.uint8
        assert 2 <= len(np.setdiff1d(scene.mask, 0)) <= 4 and scene.mask.max() < TABLE.num_classes


def test_every_class_meets_every_other() -> None:
    tags = [
        np.bincount(make_scene(np.random.default_rng(k), 48).mask.ravel(), minlength=10)[1:] > 0 for k in range(250)
    ]
    together = np.einsum("nk,nl->kl", tags, tags, dtype=int)
    assert together.min() > 0
    assert together.diagonal().max() < 2 * together.diagonal().min()


def test_simulated_masks_lose_small_objects() -> None:
    confusion = np.zeros((10, 10), int)
    for number in range(60):
        rng = np.random.default_rng(number)
        mask = make_scene(rng, 96).mask
        untouched = mask.copy()
        spoiled = simulate_wss_mask(rng, mask, TABLE)
        assert (mask == untouched).all() and set(np.unique(spoiled)) <= set(np.unique(mask))
        np.add.at(confusion, (mask, spoiled), 1)
    hits, truth, claimed = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    union = truth + claimed - hits
    assert 0.6 < (hits / union).mean() < 0.8
    missed = (truth - hits) / union
    assert missed[SMALL].mean() > 0.2 > 0.12 > missed[LARGE].mean()


@pytest.mark.parametrize("name", OUTLINES)
def test_outlines_are_signed_distances_of_the_asked_size(name: str) -> None:
    y, x = np.mgrid[-40:41, -40:41].astype(float)
    distance = OUTLINES[name](x, y, 20.0)
    inside = np.argwhere(distance < 0) - 40
    assert 28 <= np.ptp(inside, axis=0).max() <= 48
    assert distance[0, 0] > 15
    steps = np.abs(np.diff(distance, axis=1))[np.abs(distance[:, 1:]) < 2]
    assert 0.4 < steps.max() < 1.6
