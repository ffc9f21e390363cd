"""The reader of ADE20K's challenge release, and how it refuses the full data set."""

from pathlib import Path

import numpy as np
import pytest
from originals import SIZE, examples, given, ids, mask_of, opened, png, save, save_picture

from dhr.core.errors import InputError
from dhr.dataset.original.ade import Ade2016

LISTED = {"training": ["ADE_train_00000001", "ADE_train_00000002"], "validation": ["ADE_val_00000001"]}
FULL = "this is the full ADE20K, with other classes; unpack ADEChallengeData2016.zip"


def values(image_id: str) -> np.ndarray:
    """(H,W) uint8, 0 to 150."""
    return np.random.default_rng(int(image_id[-1]) + len(image_id)).integers(0, 151, SIZE).astype(np.uint8)


def make(root: Path, *splits: str) -> Path:
    home = root / "ADEChallengeData2016"
    for split in splits:
        for image_id in LISTED[split]:
            save_picture(home / "images" / split / f"{image_id}.jpg")
            save(home / "annotations" / split / f"{image_id}.png", values(image_id))
    return home


@pytest.mark.parametrize("source", ["", "ADEChallengeData2016"])
def test_both_splits(tmp_path: Path, source: str) -> None:
    make(tmp_path, *LISTED)
    original = opened(Ade2016(), given(tmp_path / source))
    assert ids(original) == {"train": LISTED["training"], "validation": LISTED["validation"]}
    assert original.remarks == () and original.names is None
    for example in examples(original):
        expected = [[255 if value == 0 else value - 1 for value in line] for line in values(example.id).tolist()]
        assert (mask_of(example) == np.array(expected)).all()
        assert example.image.is_file() and example.tags is None and example.annotation is None


@pytest.mark.parametrize(
    ("there", "split", "missing"), [("training", "train", "validation"), ("validation", "validation", "train")]
)
def test_one_split(tmp_path: Path, there: str, split: str, missing: str) -> None:
    original = opened(Ade2016(), given(make(tmp_path, there)))
    assert ids(original) == {split: LISTED[there]}
    assert len(original.remarks) == 1 and original.remarks[0].startswith(f"{missing} is not there")


def test_a_label_out_of_range(tmp_path: Path) -> None:
    example = next(examples(opened(Ade2016(), given(make(tmp_path, *LISTED)))))
    assert example.mask is not None
    save(example.mask.file, np.full(SIZE, 151, np.uint8))
    with pytest.raises(InputError, match=r"ADE_train_00000001\.png: label 151: this data set has no such label; fetch"):
        example.mask.read()


def test_pictures_without_masks(tmp_path: Path) -> None:
    home = make(tmp_path, *LISTED)
    (home / "annotations" / "training").rename(tmp_path / "elsewhere")
    with pytest.raises(
        InputError, match="source: .*: no folder annotations/training with .*; unpack ADEChallengeData2016.zip"
    ):
        Ade2016().open(given(home))


def test_neither_split(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="source: .*no folder ADEChallengeData2016/images/.*; unpack ADEChallengeData2016"
    ):
        Ade2016().open(given(tmp_path))


@pytest.mark.parametrize(
    "mark",
    [
        "index_ade20k.pkl",
        "ADE20K_2021_17_01/index_ade20k.mat",
        "images/ADE/training/home/bedroom/ADE_train_00000001_seg.png",
        "images/training/a/abbey/ADE_train_00000001_seg.png",
    ],
)
def test_the_full_data_set_by_its_folders(tmp_path: Path, mark: str) -> None:
    (tmp_path / mark).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / mark).write_bytes(b"")
    with pytest.raises(InputError, match=rf"source: .*: {FULL} of the SceneParse150 challenge"):
        Ade2016().open(given(tmp_path))


def test_the_full_data_set_by_its_masks(tmp_path: Path) -> None:
    home = make(tmp_path, *LISTED)
    first = home / "annotations" / "training" / "ADE_train_00000001.png"
    save(first, np.zeros((*SIZE, 3), np.uint8))
    with pytest.raises(
        InputError, match="ADE_train_00000001.png: mode RGB: .*full ADE20K; unpack ADEChallengeData2016.zip"
    ):
        Ade2016().open(given(home))
    first.write_bytes(b"no picture")
    with pytest.raises(InputError, match="ADE_train_00000001.png: unreadable mask .*; fetch"):
        Ade2016().open(given(home))


def test_real_ade(shared: Path) -> None:
    home = shared / "samples" / "ade20k"
    original = opened(Ade2016(), given(home))
    assert {split: len(listed) for split, listed in original.splits.items()} == {"validation": 22}
    for example in examples(original):
        assert example.mask is not None and example.image.is_file()
        stored = png(example.mask.file).astype(int)
        assert (mask_of(example) == np.where(stored == 0, 255, stored - 1)).all()
    raw = shared / "samples" / "ade20k" / "full_to_challenge_example" / "ADE_train_00000970_raw.png"
    assert png(raw).ndim == 3  # what is refused above
