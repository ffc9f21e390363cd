"""The reader of VOC 2012: which masks it takes for which id."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from originals import SIZE, examples, given, ids, mask_of, opened, png, save, save_list, save_picture
from scipy.io import savemat

from dhr.core.errors import InputError
from dhr.dataset.original.masks import IndexPng, MappedMat
from dhr.dataset.original.voc import Voc2012

TRAIN, VAL, EXTRA, TEST = (
    ["2007_000001", "2007_000002"],
    ["2007_000003"],
    ["2008_000004", "2008_000005"],
    ["2008_000009"],
)


def labels(image_id: str, *, border: bool) -> np.ndarray:
    """Made masks: picture number n shows class n."""
    mask = np.zeros(SIZE, np.uint8)
    mask[2:6, 2:6] = int(image_id[-1])
    mask[1] = 255 * border
    return mask


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """The folder VOC2012 of the trainval archive, with pictures of all ids."""
    home = tmp_path / "VOCdevkit" / "VOC2012"
    for name, listed in (("train", TRAIN), ("val", VAL)):
        save_list(home / "ImageSets" / "Segmentation" / f"{name}.txt", listed)
    for image_id in [*TRAIN, *VAL, *EXTRA]:
        save_picture(home / "JPEGImages" / f"{image_id}.jpg")
    for image_id in [*TRAIN, *VAL]:
        save(home / "SegmentationClass" / f"{image_id}.png", labels(image_id, border=True))
    (home / "Annotations").mkdir()
    (home / "Annotations" / f"{TRAIN[1]}.xml").write_text("<annotation/>")
    return home


def add_augmented(folder: Path) -> None:
    for image_id in [*TRAIN, *VAL, *EXTRA]:
        save(folder / f"{image_id}.png", labels(image_id, border=False))


def add_sbd(folder: Path) -> None:
    """SBD has its own masks of ids that VOC has masks of, also of val."""
    (folder / "cls").mkdir(parents=True)
    save_list(folder / "train.txt", [TRAIN[0], VAL[0], EXTRA[1]])
    save_list(folder / "val.txt", [TRAIN[1], EXTRA[0]])
    for image_id in [*TRAIN, *VAL, *EXTRA]:
        mask = labels(image_id, border=False)
        edges = np.zeros((20, 1), object)
        structure = {"Boundaries": edges, "Segmentation": mask, "CategoriesPresent": np.array([[int(image_id[-1])]])}
        savemat(folder / "cls" / f"{image_id}.mat", {"GTcls": structure}, do_compression=True)


@pytest.mark.parametrize("source", [".", "VOCdevkit", "VOCdevkit/VOC2012"])
def test_trainval_alone(tmp_path: Path, voc: Path, source: str) -> None:
    original = opened(Voc2012(), given(tmp_path / source))
    assert ids(original) == {"train_aug": TRAIN, "train": TRAIN, "validation": VAL}
    assert any("train_aug is train only" in remark and "use aug=" in remark for remark in original.remarks)
    assert original.names is None
    for example in examples(original):
        assert example.image.is_file() and isinstance(example.mask, IndexPng) and example.tags is None
        assert (mask_of(example) == labels(example.id, border=True)).all()
    assert original.example("train", TRAIN[0]).annotation is None
    assert original.example("train", TRAIN[1]).annotation == tmp_path / source / voc.relative_to(
        (tmp_path / source).resolve()
    ) / "Annotations" / f"{TRAIN[1]}.xml"  # fmt: skip


@pytest.mark.parametrize(
    "place", ["VOCdevkit/VOC2012/SegmentationClassAug", "SegmentationClassAug", "elsewhere", "up/SegmentationClassAug"]
)
def test_augmented_masks(tmp_path: Path, voc: Path, place: str) -> None:
    add_augmented(tmp_path / place)
    found = "elsewhere" not in place and "up" not in place
    arguments = given(tmp_path) if found else given(tmp_path, aug=tmp_path / place.split("/")[0])
    original = opened(Voc2012(), arguments)
    assert ids(original)["train_aug"] == [*TRAIN, *EXTRA]
    for example in examples(original):
        assert (mask_of(example) == labels(example.id, border=example.id not in EXTRA)).all()
    save_list(voc / "ImageSets" / "Segmentation" / "train_aug.txt", [*TRAIN, EXTRA[1]])
    assert ids(opened(Voc2012(), arguments))["train_aug"] == [*TRAIN, EXTRA[1]]


@pytest.mark.parametrize("argument", ["benchmark_RELEASE/dataset", "benchmark_RELEASE", ".", None])
def test_sbd(tmp_path: Path, voc: Path, argument: str | None) -> None:
    home = voc.parent if argument is None else tmp_path / "sbd"
    add_sbd(home / "benchmark_RELEASE" / "dataset")
    arguments = given(voc.parent, sbd=home / argument) if argument else given(voc.parent)
    original = opened(Voc2012(), arguments)
    assert ids(original) == {"train_aug": [*TRAIN, *EXTRA], "train": TRAIN, "validation": VAL}
    for example in examples(original):
        assert isinstance(example.mask, MappedMat) == (example.id in EXTRA)
        assert (mask_of(example) == labels(example.id, border=example.id not in EXTRA)).all()
    (voc / "SegmentationClass" / f"{VAL[0]}.png").unlink()  # its mask in SBD is no truth to score on
    assert isinstance(original.example("validation", VAL[0]).mask, IndexPng)


def test_what_is_given_goes_before_what_is_found(tmp_path: Path, voc: Path) -> None:
    add_augmented(voc / "SegmentationClassAug")
    add_sbd(tmp_path / "sbd")
    original = opened(Voc2012(), given(tmp_path, sbd=tmp_path / "sbd"))
    assert isinstance(original.example("train_aug", EXTRA[0]).mask, MappedMat)
    with pytest.raises(InputError, match="aug: .*sbd: .*give one of them"):
        Voc2012().open(given(tmp_path, sbd=tmp_path / "sbd", aug=voc))


def test_the_test_archive(tmp_path: Path, voc: Path) -> None:
    archive = tmp_path / "unpacked" / "VOCdevkit" / "VOC2012"
    save_list(archive / "ImageSets" / "Segmentation" / "test.txt", TEST)
    (archive / "Annotations").mkdir()
    (archive / "Annotations" / f"{TEST[0]}.xml").write_text("<annotation/>")
    roots = given([tmp_path, tmp_path / "unpacked"])
    without = opened(Voc2012(), roots)
    assert "test" not in without.splits and any("test.txt: left out" in remark for remark in without.remarks)
    save_picture(archive / "JPEGImages" / f"{TEST[0]}.jpg")
    original = opened(Voc2012(), roots)
    assert ids(original)["test"] == TEST and ids(original)["train"] == TRAIN
    example = original.example("test", TEST[0])
    assert example.image.is_file() and example.mask is None and example.annotation is None
    alone = given([tmp_path / "unpacked"])
    with pytest.raises(InputError, match="train.txt: no such list"):
        Voc2012().open(alone)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"val": [TRAIN[0]]}, "2007_000001: this id is in train_aug and in validation; restore"),
        ({"train_aug": [*TRAIN, VAL[0]]}, "2007_000003: this id is in train_aug and in validation; restore"),
        ({"train": ["../secret"]}, r"train.txt: '../secret': not an id"),
        ({"val": []}, "val.txt: no id in it; unpack"),
    ],
)
def test_wrong_lists(tmp_path: Path, voc: Path, change: dict[str, list[str]], message: str) -> None:
    add_augmented(voc / "SegmentationClassAug")
    for name, listed in change.items():
        save_list(voc / "ImageSets" / "Segmentation" / f"{name}.txt", listed)
    with pytest.raises(InputError, match=message):
        Voc2012().open(given(tmp_path))


def test_what_is_missing_is_named(tmp_path: Path, voc: Path) -> None:
    (tmp_path / "empty").mkdir()
    for argument, cure in (("aug", "use aug="), ("sbd", "use sbd=")):
        with pytest.raises(InputError, match=f"{argument}: .*empty: no folder .*; {cure}"):
            Voc2012().open(given(tmp_path, **{argument: tmp_path / "empty"}))
    add_sbd(tmp_path / "sbd")
    (tmp_path / "sbd" / "val.txt").unlink()
    with pytest.raises(InputError, match="sbd/val.txt: no such list of ids; unpack"):
        Voc2012().open(given(tmp_path, sbd=tmp_path / "sbd"))
    shutil.rmtree(voc / "JPEGImages")
    with pytest.raises(InputError, match="source: .*JPEGImages.*; unpack VOCtrainval_11-May-2012.tar and use source="):
        Voc2012().open(given(tmp_path))


def test_broken_mats_of_sbd(tmp_path: Path) -> None:
    add_sbd(tmp_path)
    good, lookup = (tmp_path / "cls" / f"{EXTRA[0]}.mat").read_bytes(), np.arange(21, dtype=np.int16)
    file, rng = tmp_path / "broken.mat", np.random.default_rng(3)
    with pytest.raises(InputError, match=r"broken\.mat: this mask is missing; restore"):
        MappedMat(file, "GTcls.Segmentation", lookup).read()
    refused = 0
    for trial in range(200):
        data = bytearray(good[: rng.integers(len(good))] if trial % 2 else good)
        for _ in range(1 - trial % 2):
            data[rng.integers(len(data))] ^= int(rng.integers(1, 256))
        file.write_bytes(data)
        try:
            MappedMat(file, "GTcls.Segmentation", lookup).read()
        except InputError as error:
            refused += "broken.mat" in str(error) and "fetch this file again" in str(error)
    assert refused > 100


@pytest.mark.parametrize("variable", ["GTcls.Segmentation", "GTcls", "S"])
def test_mats_of_another_form(tmp_path: Path, variable: str) -> None:
    file, lookup = tmp_path / "other.mat", np.arange(21, dtype=np.int16)
    for values in (
        {"S": np.zeros((2, 3, 4))},
        {"S": np.full((2, 3), 0.5)},
        {"S": "text"},
        {"GTcls": {"S": 1}},
        {"T": 1},
    ):
        savemat(file, values)
        with pytest.raises(
            InputError, match=f"other.mat: no label map {variable} to be read .*; fetch this file again"
        ):
            MappedMat(file, variable, lookup).read()
    savemat(file, {"S": np.array([[1.0, 21.0]])})
    with pytest.raises(InputError, match=r"other\.mat: label 21: .*; fetch"):
        MappedMat(file, "S", lookup).read()


def test_real_voc(shared: Path) -> None:
    home = shared / "samples" / "voc2012" / "VOCdevkit" / "VOC2012"
    original = opened(Voc2012(), given(home.parents[1]))
    assert {split: len(listed) for split, listed in original.splits.items()} == {
        "train_aug": 30, "train": 11, "validation": 16
    }  # fmt: skip
    for example in examples(original):
        official = home / "SegmentationClass" / f"{example.id}.png"
        expected = png(official if official.exists() else home / "SegmentationClassAug" / f"{example.id}.png")
        assert (mask_of(example) == expected).all() and example.image.is_file()
    assert sum(example.annotation is not None for example in examples(original)) > 0


def test_real_container_of_sbd(shared: Path) -> None:
    for file in (shared / "samples" / "sbd_format_only" / "dataset" / "cls").glob("*.mat"):
        mask = MappedMat(file, "GTcls.Segmentation", np.arange(21, dtype=np.int16)).read()
        assert mask.shape[0] == 375 and not mask.any()
