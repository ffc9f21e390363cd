"""From a VOCdevkit to the layout that the program reads."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dhr.artifacts import DataLayout, read_image, read_mask, read_tags, write_mask
from dhr.dataset.classes import load_classes
from dhr.dataset.examples import SplitCounts
from dhr.dataset.preparation import Generate, prepare
from dhr.errors import InputError

SAMPLE = Path(__file__).resolve().parents[2] / "shared" / "samples" / "voc2012" / "VOCdevkit"
TABLE = load_classes("voc")
IDS = {
    "train": ["2007_000001", "2007_000002"],
    "val": ["2007_000003"],
    "train_aug": ["2007_000001", "2007_000002", "2008_000004"],
}
XML = "<annotation><object><name>cat</name><part><name>head</name></part></object></annotation>"


@pytest.fixture
def devkit(tmp_path: Path) -> Path:
    """Four made pictures in the layout of the download: id number n shows class n, 2007_000002 has an XML."""
    voc = tmp_path / "VOCdevkit" / "VOC2012"
    for folder in ("JPEGImages", "Annotations", "SegmentationClass", "SegmentationClassAug", "ImageSets/Segmentation"):
        (voc / folder).mkdir(parents=True)
    for name, ids in IDS.items():
        (voc / "ImageSets" / "Segmentation" / f"{name}.txt").write_text("\n".join(ids) + "\n")
    for id in {*IDS["train_aug"], *IDS["val"]}:
        mask = np.zeros((8, 12), np.uint8)
        mask[2:6, 2:6] = int(id[-1])
        Image.fromarray(np.full((8, 12, 3), 90, np.uint8)).save(voc / "JPEGImages" / f"{id}.jpg")
        write_mask(voc / "SegmentationClassAug" / f"{id}.png", mask, TABLE.palette)
        if id.startswith("2007"):
            mask[1] = 255
            write_mask(voc / "SegmentationClass" / f"{id}.png", mask, TABLE.palette)
    (voc / "Annotations" / "2007_000002.xml").write_text(XML)
    return tmp_path / "VOCdevkit"


def test_layout(tmp_path: Path, devkit: Path) -> None:
    data = tmp_path / "data"
    done = prepare("voc", data, source=devkit)
    layout = DataLayout(data, "VOC2012")
    assert {split: layout.ids(split) for split in ("train", "train_aug", "validation")} == {
        "train": IDS["train"], "train_aug": IDS["train_aug"], "validation": IDS["val"]
    }  # fmt: skip
    assert done.splits == {
        "train_aug": SplitCounts(3, 1, 2),
        "train": SplitCounts(2, 1, 1),
        "validation": SplitCounts(1, 0, 1),
    }
    assert "train_aug has 3 of 10582 published images" in done.lines()
    assert read_tags(layout.tags("train", "2007_000001"), TABLE.names) == ["aeroplane"]
    assert read_tags(layout.tags("train", "2007_000002"), TABLE.names) == ["cat"]
    assert read_mask(layout.mask("train_aug", "2007_000001")).max() == 255
    assert set(np.unique(read_mask(layout.mask("train_aug", "2008_000004")))) == {0, 4}
    original = devkit / "VOC2012" / "JPEGImages" / "2007_000001.jpg"
    assert layout.image("train", "2007_000001").samefile(original)


@pytest.mark.parametrize("source", [".", "VOCdevkit", "VOCdevkit/VOC2012"])
def test_the_source_may_be_any_of_three_folders(tmp_path: Path, devkit: Path, source: str) -> None:
    assert prepare("voc", tmp_path / "data", source=tmp_path / source).splits["validation"].images == 1


def test_again_writes_nothing_and_an_interrupted_one_is_completed(tmp_path: Path, devkit: Path) -> None:
    data = tmp_path / "data"
    first = prepare("voc", data, source=devkit, transfer="copy")
    times = {path: path.stat().st_mtime_ns for path in data.rglob("*.*")}
    assert len(times) == 3 * 6
    gone = data / "VOC2012" / "train" / "image" / "2007_000001.jpg"
    gone.unlink()
    assert prepare("voc", data, source=devkit, transfer="copy") == first
    again = {path: path.stat().st_mtime_ns for path in data.rglob("*.*")}
    assert gone.exists() and {**again, gone: 0} == {**times, gone: 0}


def test_without_a_list_train_aug_is_every_augmented_mask_but_val(tmp_path: Path, devkit: Path) -> None:
    (devkit / "VOC2012" / "ImageSets" / "Segmentation" / "train_aug.txt").unlink()
    shutil.move(devkit / "VOC2012" / "SegmentationClassAug", tmp_path / "masks")
    prepare("voc", tmp_path / "data", source=devkit, aug=tmp_path / "masks")
    assert DataLayout(tmp_path / "data", "VOC2012").ids("train_aug") == IDS["train_aug"]


def test_without_augmented_masks_train_aug_is_train(tmp_path: Path, devkit: Path) -> None:
    shutil.rmtree(devkit / "VOC2012" / "SegmentationClassAug")
    done = prepare("voc", tmp_path / "data", source=devkit)
    assert DataLayout(tmp_path / "data", "VOC2012").ids("train_aug") == IDS["train"]
    assert any("use aug=" in line for line in done.lines())


@pytest.mark.parametrize(
    "missing",
    [
        "JPEGImages",
        "JPEGImages/2008_000004.jpg",
        "SegmentationClassAug/2008_000004.png",
        "ImageSets/Segmentation/train.txt",
        "ImageSets/Segmentation/val.txt",
    ],
)
def test_what_is_missing_is_named_before_anything_is_written(tmp_path: Path, devkit: Path, missing: str) -> None:
    path = devkit / "VOC2012" / missing
    shutil.move(path, tmp_path / "elsewhere")
    with pytest.raises(InputError, match=f"{path.name}.*; .*(unpack|give|use)"):
        prepare("voc", tmp_path / "data", source=devkit)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ("", "empty"),
        ("../../secret", "not an id"),
        ("2007_000003\n2007_000003", "twice"),
        ("2007_000001", "is in train_aug and in val"),
    ],
)
def test_wrong_lists_are_refused(tmp_path: Path, devkit: Path, listed: str, message: str) -> None:
    (devkit / "VOC2012" / "ImageSets" / "Segmentation" / "val.txt").write_text(listed)
    with pytest.raises(InputError, match=message):
        prepare("voc", tmp_path / "data", source=devkit)
    assert not (tmp_path / "data").exists()


def test_a_label_out_of_range_is_named(tmp_path: Path, devkit: Path) -> None:
    mask = devkit / "VOC2012" / "SegmentationClassAug" / "2008_000004.png"
    write_mask(mask, np.full((8, 12), 21, np.uint8), TABLE.palette)
    with pytest.raises(InputError, match=r"2008_000004.png: label 21: voc has classes 0 to 20"):
        prepare("voc", tmp_path / "data", source=devkit)


@pytest.mark.parametrize(("name", "message"), [("2007_000001.jpg", "differs from"), ("other.jpg", "not in the list")])
def test_two_downloads_are_not_mixed(tmp_path: Path, devkit: Path, name: str, message: str) -> None:
    place = tmp_path / "data" / "VOC2012" / "train" / "image" / name
    place.parent.mkdir(parents=True)
    place.write_bytes(b"something else")
    with pytest.raises(InputError, match=message):
        prepare("voc", tmp_path / "data", source=devkit)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"dataset": "context"}, "use one of toy, voc"),
        ({"dataset": "voc"}, "source=<folder VOCdevkit>"),
        ({"dataset": "voc", "source": Path("nowhere")}, "nowhere: no folder JPEGImages"),
        ({"dataset": "voc", "transfer": "move"}, "use link or copy"),
        ({"dataset": "toy"}, "dataset.generate"),
    ],
)
def test_wrong_requests(tmp_path: Path, asked: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        prepare(data=tmp_path / "data", **asked)


def test_wrong_aug_folder(tmp_path: Path, devkit: Path) -> None:
    with pytest.raises(InputError, match="aug: .*nowhere: no folder of PNG masks"):
        prepare("voc", tmp_path / "data", source=devkit, aug=tmp_path / "nowhere")


def test_toy(tmp_path: Path) -> None:
    done = prepare("toy", tmp_path, generate=Generate({"train": 2, "validation": 1}, image_size=64))
    assert done.splits["train"].images == len(DataLayout(tmp_path, "Toy").ids("train")) == 2


@pytest.mark.skipif(not SAMPLE.is_dir(), reason="samples are not here")
def test_real_sample(tmp_path: Path) -> None:
    done = prepare("voc", tmp_path, source=SAMPLE, transfer="copy")
    assert done.splits == {
        "train_aug": SplitCounts(30, 6, 24),
        "train": SplitCounts(11, 5, 6),
        "validation": SplitCounts(16, 0, 16),
    }
    layout = DataLayout(tmp_path, "VOC2012")
    assert read_tags(layout.tags("train", "2007_000063"), TABLE.names) == ["chair", "dog"]
    assert "horse" in read_tags(layout.tags("train", "2007_000904"), TABLE.names)
    for id in layout.ids("validation"):
        assert read_image(layout.image("validation", id)).shape[:2] == read_mask(layout.mask("validation", id)).shape
