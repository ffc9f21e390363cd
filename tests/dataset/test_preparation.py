"""prepare: one pass, in its places or not at all, twice for nothing, and continued where it stopped."""

import os
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from downloads import TABLE, labels, make_ade, pack, picture, prepare, preparer, save
from PIL import Image
from several import begun, ended, exit_code, finish_here
from tiny import Tiny

from dhr.core.errors import InputError
from dhr.dataset.prepare.preparer import Sources
from dhr.dataset.split import Split
from dhr.disk.annotation import read_tags
from dhr.disk.layout import DataLayout
from dhr.disk.manifest import JOURNAL, Manifest
from dhr.disk.mask import read_mask

KILLED = 800  # images: enough for the kill to come before the end


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def times(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_masks_tags_and_manifest_of_every_image(tmp_path: Path) -> None:
    done = prepare(tmp_path / "data", make_ade(tmp_path))
    layout = DataLayout(tmp_path / "data", "ADE2016")
    assert layout.ids("train") == [f"ADE_train_{number:08d}" for number in range(1, 6)]
    manifest = Manifest.open(layout.split("train"))
    assert manifest is not None and manifest.header == done.splits["train"]
    for number, entry in enumerate(manifest, start=1):
        expected = labels(number, 0, 150).astype(int) - 1
        expected[expected < 0] = 255
        assert (read_mask(layout.mask("train", entry.id)) == expected).all()
        names = [TABLE.names[label] for label in np.unique(expected) if label < 255]
        assert list(entry.tags) == names == read_tags(layout.tags("train", entry.id), TABLE.names)
        assert entry.labels == {int(label): int((expected == label).sum()) for label in np.unique(expected)}
        assert entry.size == expected.shape and entry.tags_from == "mask"
        assert entry.image.length == layout.image("train", entry.id).stat().st_size


def test_second_time_does_nothing(tmp_path: Path) -> None:
    source = make_ade(tmp_path)
    prepare(tmp_path / "data", source)
    before = times(tmp_path / "data")
    prepare(tmp_path / "data", source)
    assert times(tmp_path / "data") == before


def test_images_are_hard_links_unless_copies_are_asked_for(tmp_path: Path) -> None:
    source = make_ade(tmp_path)
    for transfer, linked in (("link", True), ("copy", False)):
        prepare(tmp_path / transfer, source, transfer=transfer)
        image = DataLayout(tmp_path / transfer, "ADE2016").image("train", "ADE_train_00000001")
        assert image.samefile(source / "images" / "training" / image.name) is linked


def test_lost_file_is_made_again_and_nothing_else(tmp_path: Path) -> None:
    source, layout = make_ade(tmp_path), DataLayout(tmp_path / "data", "ADE2016")
    prepare(layout.root, source)
    whole, lost = tree(layout.root), layout.mask("train", "ADE_train_00000002")
    lost.unlink()
    kept = layout.mask("train", "ADE_train_00000001")
    before = kept.stat().st_mtime_ns
    prepare(layout.root, source)
    assert tree(layout.root) == whole and kept.stat().st_mtime_ns == before


def test_more_processes_make_the_same(tmp_path: Path) -> None:
    source = make_ade(tmp_path, train=70)
    prepare(tmp_path / "one", source, workers=1)
    prepare(tmp_path / "two", source, workers=2)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


@pytest.mark.parametrize("ending", (".zip", ".tar.gz"))
def test_archive_is_prepared_and_leaves_nothing_beside(tmp_path: Path, ending: str) -> None:
    source = make_ade(tmp_path)
    prepare(tmp_path / "folder", source)
    prepare(tmp_path / "archive", pack(source, tmp_path / f"ADE{ending}"))
    assert tree(tmp_path / "archive") == tree(tmp_path / "folder")
    boxed = tmp_path / "boxed"
    boxed.mkdir()
    shutil.move(tmp_path / f"ADE{ending}", boxed)
    prepare(tmp_path / "inside", boxed)
    assert tree(tmp_path / "inside") == tree(tmp_path / "folder")


def test_truncated_archive_leaves_nothing(tmp_path: Path) -> None:
    archive = pack(make_ade(tmp_path), tmp_path / "ADE.zip")
    archive.write_bytes(archive.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"ADE\.zip: truncated or broken archive"):
        prepare(tmp_path / "data", archive)
    assert tree(tmp_path / "data") == {}


def test_wrong_folder_leaves_nothing(tmp_path: Path) -> None:
    save(tmp_path / "holiday" / "beach.jpg", picture(1))
    with pytest.raises(InputError, match="source: .*holiday"):
        prepare(tmp_path / "data", tmp_path / "holiday")
    assert not (tmp_path / "data").exists()


def test_missing_originals_are_named_before_anything_is_written(tmp_path: Path) -> None:
    source = make_ade(tmp_path)
    (source / "annotations" / "training" / "ADE_train_00000002.png").unlink()
    with pytest.raises(InputError, match=r"ADE_train_00000002\.png: this file is missing, and 0 more"):
        prepare(tmp_path / "data", source)
    assert not (tmp_path / "data").exists()


def test_broken_images_are_named_and_the_others_done(tmp_path: Path) -> None:
    source, layout = make_ade(tmp_path), DataLayout(tmp_path / "data", "ADE2016")
    broken = source / "images" / "training" / "ADE_train_00000002.jpg"
    good = broken.read_bytes()
    broken.write_bytes(good[:200])
    save(source / "annotations" / "training" / "ADE_train_00000003.png", labels(3, 0, 150)[:-1])
    with pytest.raises(InputError, match=r"(?s)ADE_train_00000002\.jpg.*ADE_train_00000003\.png: size .*run it again"):
        prepare(layout.root, source)
    assert layout.ids("train") == [f"ADE_train_{number:08d}" for number in (1, 4, 5)]
    with pytest.raises(InputError, match="prepare was interrupted here"):
        Split.open(layout, "train", TABLE)
    broken.write_bytes(good)
    save(source / "annotations" / "training" / "ADE_train_00000003.png", labels(3, 0, 150))
    assert prepare(layout.root, source).splits["train"].images == 5
    assert len(Split.open(layout, "train", TABLE)) == 5


@pytest.mark.parametrize("ending", [".jpg", ".png", ".jpeg", ".JPEG"])
def test_another_file_in_the_place(tmp_path: Path, ending: str) -> None:
    source, layout = make_ade(tmp_path), DataLayout(tmp_path / "data", "ADE2016")
    save(layout.image("train", "ADE_train_00000001").with_suffix(ending), picture(99))
    with pytest.raises(InputError, match=rf"ADE_train_00000001\{ending}: differs from"):
        prepare(layout.root, source)
    assert (np.asarray(Image.open(layout.image("train", "ADE_train_00000001"))) != picture(1)).any()


def test_images_of_another_data_set_in_the_folder(tmp_path: Path) -> None:
    source, layout = make_ade(tmp_path), DataLayout(tmp_path / "data", "ADE2016")
    save(layout.image("train", "holiday"), picture(99))
    with pytest.raises(InputError, match="holiday: 1 images here are not in this split"):
        prepare(layout.root, source)


def test_a_limit_takes_as_many_of_every_split_evenly(tmp_path: Path) -> None:
    source, layout = make_ade(tmp_path, train=9, validation=3), DataLayout(tmp_path / "data", "ADE2016")
    done = prepare(layout.root, source, limit=4)
    assert layout.ids("train") == [f"ADE_train_{number:08d}" for number in (2, 4, 6, 8)]
    assert layout.ids("validation") == [f"ADE_val_{number:08d}" for number in (1, 2, 3)]
    train, validation = done.splits["train"], done.splits["validation"]
    assert (train.images, train.limit, validation.images, validation.limit) == (4, 4, 3, None)
    assert "train: 4 of 9 images, limit=4" in done.remarks and not any("validation: 3" in each for each in done.remarks)
    manifest = Manifest.open(layout.split("train"))
    assert manifest is not None and manifest.header == train and len(Split.open(layout, "train", TABLE)) == 4
    before = times(layout.root)
    prepare(layout.root, source, limit=4)
    assert preparer(layout.root)(Sources()).splits["train"].limit == 4  # as it lies there
    assert times(layout.root) == before


@pytest.mark.parametrize(("first", "then"), [(4, 3), (4, 5), (4, None), (None, 4)])
def test_another_limit_wants_another_folder(tmp_path: Path, first: int | None, then: int | None) -> None:
    source = make_ade(tmp_path, train=9)
    prepare(tmp_path / "data", source, limit=first)
    before = times(tmp_path / "data")
    asked, there = then or 9, first or 9
    message = (
        f"limit={then or 'null'}: .*train: {asked} images .* here are {there} images; .*dataset.folder=<another name>"
    )
    with pytest.raises(InputError, match=message):
        prepare(tmp_path / "data", source, limit=then)
    assert times(tmp_path / "data") == before


def test_an_interrupted_limit_is_continued_and_another_is_refused(tmp_path: Path) -> None:
    source, layout = make_ade(tmp_path, train=9), DataLayout(tmp_path / "data", "ADE2016")
    broken = source / "annotations" / "training" / "ADE_train_00000004.png"
    good = broken.read_bytes()
    broken.write_bytes(good[:50])
    with pytest.raises(InputError, match=r"00000004\.png"):
        prepare(layout.root, source, limit=4)
    with pytest.raises(InputError, match="limit=2: .*here are 3 images that are not among these; .*dataset.folder="):
        prepare(layout.root, source, limit=2)
    broken.write_bytes(good)
    assert prepare(layout.root, source, limit=4).splits["train"].images == 4
    prepare(tmp_path / "whole", source, limit=4)
    assert tree(layout.root) == tree(tmp_path / "whole")


@pytest.mark.parametrize("limit", (9, 10))
def test_a_limit_that_takes_all_is_none(tmp_path: Path, limit: int) -> None:
    source = make_ade(tmp_path, train=9)
    done = prepare(tmp_path / "some", source, limit=limit)
    prepare(tmp_path / "all", source)
    assert done.splits["train"].limit is None and tree(tmp_path / "some") == tree(tmp_path / "all")


def test_a_drawn_set_has_no_limit(tiny: Tiny) -> None:
    with pytest.raises(InputError, match="limit: 4: dataset=toy is drawn, .*; use dataset.generate.train=4"):
        tiny.call("prepare", "limit=4")


@pytest.mark.parametrize("key", ("sbd", "aug"))
def test_argument_of_another_data_set(tmp_path: Path, key: str) -> None:
    with pytest.raises(InputError, match=f"{key}: .*dataset=ade has no use for it"):
        preparer(tmp_path / "data")(Sources(source=make_ade(tmp_path), **{key: tmp_path}))


def test_laid_out_data_are_used_as_they_are(tmp_path: Path) -> None:
    prepare(tmp_path / "made", make_ade(tmp_path))
    layout = DataLayout(tmp_path / "authors", "ADE2016")
    shutil.copytree(tmp_path / "made" / "ADE2016", layout.home, ignore=shutil.ignore_patterns("*.jsonl"))
    before = {path: time for path, time in times(layout.home).items() if path.is_file()}
    done = preparer(layout.root)(Sources())
    assert done.splits["train"].tags_from == {"xml": 5}
    assert {path: path.stat().st_mtime_ns for path in before} == before
    made = times(tmp_path / "made")
    preparer(tmp_path / "made")(Sources())  # nothing is known of where it came from, and nothing has to be
    assert times(tmp_path / "made") == made
    elsewhere = prepare(tmp_path / "elsewhere", tmp_path / "authors")
    assert elsewhere.splits["validation"].images == 3
    assert "is laid out already" in "\n".join(elsewhere.lines())


@pytest.mark.slow
@pytest.mark.parametrize("moment", (0.1, 0.6))
def test_killed_run_is_continued(tmp_path: Path, moment: float) -> None:
    """SIGKILL of the whole process while it writes: nothing torn, no orphans, and the rest is done the next time."""
    source, images = make_ade(tmp_path, train=KILLED), tmp_path / "data" / "ADE2016" / "train" / "image"
    command = [
        sys.executable,
        "-m",
        "dhr.prepare",
        "dataset=ade",
        f"source={source}",
        f"paths.data={tmp_path / 'data'}",
    ]
    run = begun([*command, "workers=2"])
    while not images.is_dir() or len(os.listdir(images)) < KILLED * moment:
        assert exit_code(run) is None, "it ended before it could be killed"
        time.sleep(0.005)
    run.kill()
    assert ended(run) == -signal.SIGKILL
    wait_for_quiet(images)
    done = len(os.listdir(images))
    assert done < KILLED and (images.parent / JOURNAL).is_file()
    finish_here(command)
    prepare(tmp_path / "whole", source)
    assert tree(tmp_path / "data") == tree(tmp_path / "whole")


def wait_for_quiet(folder: Path) -> None:
    """The processes of a killed parent end by themselves."""
    count, still = -1, 0
    while still < 10:
        now = len(os.listdir(folder))
        still, count = (still + 1, count) if now == count else (0, now)
        time.sleep(0.05)
