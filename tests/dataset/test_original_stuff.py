"""The reader of COCO-Stuff: both releases, and the folders that their archives unpack to."""

import json
from pathlib import Path

import numpy as np
import pytest
from originals import SIZE, examples, given, ids, mask_of, opened, png, save, save_list, save_picture
from scipy.io import savemat

from dhr.core.errors import InputError
from dhr.dataset.original.masks import source_ids
from dhr.dataset.original.stuff import CocoStuff

UNUSED = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91)
USED = [number for number in range(1, 183) if number not in UNUSED]
LISTED = {"train2017": ["000000000009", "000000000025"], "val2017": ["000000000139"]}
SMALL = {
    "train": ["COCO_train2014_000000000077", "COCO_train2014_000000000113"],
    "test": ["COCO_train2014_000000000825"],
}


def numbers(seed: int) -> np.ndarray:
    """(H,W) label numbers, 0 where nothing is labelled."""
    return np.random.default_rng(seed).choice([0, *USED], SIZE)


def expected(seed: int) -> np.ndarray:
    """Class indices by a slow loop."""
    return np.array([[255 if number == 0 else USED.index(number) for number in line] for line in numbers(seed)])


def make_large(root: Path, *, images: str = "images/", masks: str = "annotations/") -> None:
    for name, listed in LISTED.items():
        for image_id in listed:
            save_picture(root / f"{images}{name}" / f"{image_id}.jpg")
            save(
                root / f"{masks}{name}" / f"{image_id}.png", (numbers(int(image_id)) - 1).astype(np.uint8)
            )  # 0 becomes 255


def make_small(root: Path) -> None:
    for name, listed in SMALL.items():
        save_list(root / "imageLists" / f"{name}.txt", listed)
        for image_id in listed:
            save_picture(root / "images" / f"{image_id}.jpg")
            (root / "annotations").mkdir(exist_ok=True)
            values = {
                "S": numbers(int(image_id[-4:])).astype(np.uint8),
                "names": np.array(["a", "b"], object),
                "captions": [],
            }
            savemat(root / "annotations" / f"{image_id}.mat", values, do_compression=True)


def test_numbers_are_those_of_the_release(shared: Path) -> None:
    stated = json.loads((shared / "samples" / "labels" / "coco_stuff.json").read_text())
    assert list(source_ids("stuff")) == stated["label_ids"] == USED


@pytest.mark.parametrize(
    "masks", ["annotations/", "stuffthingmaps/", "", "apart"], ids=["annotations", "stuffthingmaps", "beside", "apart"]
)
def test_164k(tmp_path: Path, masks: str) -> None:
    folders = [tmp_path]
    if masks == "apart":  # two archives, each with folders train2017/ and val2017/
        make_large(tmp_path, images="one/", masks="two/")
        folders = [tmp_path, tmp_path / "one", tmp_path / "two"]
    else:
        make_large(tmp_path, images="images/" if masks == "annotations/" else "", masks=masks)
    original = opened(CocoStuff(), given(folders))
    assert ids(original) == {"train": LISTED["train2017"], "validation": LISTED["val2017"]}
    assert "164k" in original.remarks[0] and original.names is None
    for example in examples(original):
        assert (mask_of(example) == expected(int(example.id))).all()
        assert example.image.is_file() and example.tags is None and example.annotation is None


@pytest.mark.parametrize("folder", ["", "cocostuff-10k-v1.1"])
def test_10k(tmp_path: Path, folder: str) -> None:
    make_small(tmp_path / folder)
    original = opened(CocoStuff(), given(tmp_path))
    assert ids(original) == {"train": SMALL["train"], "validation": SMALL["test"]}
    assert "10k" in original.remarks[0]
    for example in examples(original):
        assert (mask_of(example) == expected(int(example.id[-4:]))).all() and example.image.is_file()


@pytest.mark.parametrize("number", [*UNUSED, 183, 255])
def test_numbers_that_never_occur(tmp_path: Path, number: int) -> None:
    make_large(tmp_path / "large")
    make_small(tmp_path / "small")
    large = next(examples(opened(CocoStuff(), given(tmp_path / "large"))))
    small = next(examples(opened(CocoStuff(), given(tmp_path / "small"))))
    assert large.mask and small.mask
    save(large.mask.file, np.full(SIZE, number - 1, np.uint8))
    savemat(small.mask.file, {"S": np.full(SIZE, number, np.uint16)})
    with pytest.raises(InputError, match=rf"\.png: label {number - 1}: this data set has no such label; fetch"):
        large.mask.read()
    with pytest.raises(InputError, match=rf"\.mat: label {number}: this data set has no such label; fetch"):
        small.mask.read()


def test_both_releases_in_one_folder(tmp_path: Path) -> None:
    make_large(tmp_path)
    make_small(tmp_path / "cocostuff-10k-v1.1")
    with pytest.raises(InputError, match=r"source: .*: both releases, .*; use the folder of one of them"):
        CocoStuff().open(given(tmp_path))


@pytest.mark.parametrize(
    ("make", "missing"),
    [(make_large, f"{kind}/{name}") for kind in ("images", "annotations") for name in LISTED]
    + [(make_small, "images"), (make_small, "imageLists")],
)
def test_what_is_missing_is_named(tmp_path: Path, make: object, missing: str) -> None:
    assert callable(make)
    make(tmp_path)
    (tmp_path / missing).rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=f"source: .*no folder {missing}.*; unpack .* use source="):
        CocoStuff().open(given(tmp_path))


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"no folder images/train2017 .*stuffthingmaps_trainval2017.zip, or cocostuff-10k"
    ):
        CocoStuff().open(given(tmp_path))


def test_an_image_in_both_lists(tmp_path: Path) -> None:
    make_small(tmp_path)
    save_list(tmp_path / "imageLists" / "test.txt", SMALL["train"][:1])
    with pytest.raises(InputError, match="0077: this id is in train and in validation; restore"):
        CocoStuff().open(given(tmp_path))


def test_real_pixel_maps(shared: Path) -> None:
    home = shared / "samples" / "coco_stuff164k"
    stated = json.loads((shared / "samples" / "labels" / "coco_stuff.json").read_text())["pixelmap164k_value_to_index"]
    original = opened(CocoStuff(), given(home))
    assert {split: len(listed) for split, listed in original.splits.items()} == {"train": 9, "validation": 28}
    table = np.array([int(stated.get(str(value), 255)) for value in range(256)])
    for example in examples(original):
        assert example.mask is not None and example.image.is_file()
        values = png(example.mask.file)
        assert {str(value) for value in np.unique(values)} <= {*stated, "255"}  # the 11 numbers never occur
        assert (mask_of(example) == table[values]).all()
