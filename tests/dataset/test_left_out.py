"""Whatever the case of an ending, a file of a download is taken; what is not taken is said, with number and names."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import test_original_ade
import test_original_coco
import test_original_context
import test_original_stuff
import test_original_voc
from originals import SIZE, given, ids, opened, save, save_list, save_picture

from dhr.core.errors import InputError
from dhr.dataset.classes import load_classes
from dhr.dataset.original.ade import Ade2016
from dhr.dataset.original.coco import Coco2014
from dhr.dataset.original.context import PascalContext
from dhr.dataset.original.interface import Download, Example, Given, Original, Roots
from dhr.dataset.original.layout import LaidOut, find_laid_out
from dhr.dataset.original.stuff import CocoStuff
from dhr.dataset.original.voc import Voc2012
from dhr.dataset.prepare.preparer import Preparation, Preparer, Sources
from dhr.disk.annotation import write_tags
from dhr.disk.file_names import IMAGES, JPEGS, MASKS, file_of, spellings
from dhr.disk.layout import DataLayout


class OurLayout:
    """The reader of our own layout as if it were one of a download."""

    takes = frozenset[str]()

    def open(self, given: Given) -> LaidOut:
        found = find_laid_out(Roots("source", given.source.folders), "Set")
        assert found is not None
        return found


def make_laid_out(root: Path) -> None:
    for split, listed in (("train", ("a", "b", "c")), ("validation", ("d", "e"))):
        for image_id in listed:
            save_picture(root / "Set" / split / "image" / f"{image_id}.jpg")
            save(root / "Set" / split / "mask" / f"{image_id}.png", np.ones(SIZE, np.uint8))
            write_tags(root / "Set" / split / "xml" / f"{image_id}.xml", SIZE, ["aeroplane"])


def make_voc(root: Path) -> None:
    home = root / "VOCdevkit" / "VOC2012"
    listed = [*test_original_voc.TRAIN, *test_original_voc.VAL]
    save_list(home / "ImageSets" / "Segmentation" / "train.txt", test_original_voc.TRAIN)
    save_list(home / "ImageSets" / "Segmentation" / "val.txt", test_original_voc.VAL)
    for image_id in [*listed, *test_original_voc.EXTRA]:
        save_picture(home / "JPEGImages" / f"{image_id}.jpg")
    for image_id in listed:
        save(home / "SegmentationClass" / f"{image_id}.png", test_original_voc.labels(image_id, border=True))
    test_original_voc.add_augmented(home / "SegmentationClassAug")


def make_context(root: Path, add: Callable[[Path], None]) -> None:
    add(test_original_context.make(root))


@dataclass(frozen=True)
class Case:
    """A reader with a small download: how it is made, where its pictures and masks lie, name of our classes."""

    reader: Download
    make: Callable[[Path], object]
    images: str
    masks: str | None
    table: str
    lists: bool = False  # which pictures there are stands in lists, so that others are as it should be


CASES = {
    "ade": Case(
        Ade2016(), lambda root: test_original_ade.make(root, "training", "validation"),
        "ADEChallengeData2016/images/training", "ADEChallengeData2016/annotations/training", "ade",
    ),
    "coco": Case(Coco2014(), test_original_coco.make, "train2014", None, "coco"),
    "stuff, 164k": Case(
        CocoStuff(), test_original_stuff.make_large, "images/train2017", "annotations/train2017", "stuff"
    ),
    "stuff, 10k": Case(CocoStuff(), test_original_stuff.make_small, "images", "annotations", "stuff"),
    "context, .mat": Case(
        PascalContext(), lambda root: make_context(root, test_original_context.add_mats),
        "VOCdevkit/VOC2010/JPEGImages", "VOCdevkit/VOC2010/trainval", "context", lists=True,
    ),
    "context, PNG": Case(
        PascalContext(), lambda root: make_context(root, png_form),
        "VOCdevkit/VOC2010/JPEGImages", "VOCdevkit/VOC2010/SegmentationClassContext", "context", lists=True,
    ),
    "voc": Case(
        Voc2012(), make_voc,
        "VOCdevkit/VOC2012/JPEGImages", "VOCdevkit/VOC2012/SegmentationClassAug", "voc", lists=True,
    ),
    "laid out": Case(OurLayout(), make_laid_out, "Set/train/image", "Set/train/mask", "voc"),
}  # fmt: skip

MASKED = [name for name, case in CASES.items() if case.masks is not None]  # not painted
PLACES = [(name, "masks") for name in MASKED] + [(name, "images") for name, case in CASES.items() if not case.lists]


def png_form(home: Path) -> None:
    test_original_context.add_pngs(home)
    test_original_context.add_annotations(home)


def respelled(folder: Path, endings: tuple[str, ...]) -> None:
    """Every file gets another of the endings in turn."""
    for number, path in enumerate(sorted(folder.iterdir())):
        path.rename(path.with_suffix(endings[number % len(endings)]))


def prepared(case: Case, root: Path, data: str = "data", limit: int | None = None) -> Preparation:
    layout = DataLayout(root / data, "Set")
    reader = None if isinstance(case.reader, OurLayout) else case.reader
    preparer = Preparer("x", layout, load_classes(case.table), reader, workers=1, limit=limit)
    return preparer(Sources(source=root / "source"))


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    """One after the other, with its download made in `source`."""
    found = CASES[request.param]
    (tmp_path / "source").mkdir()
    found.make(tmp_path / "source")
    return found


def seen(original: Original) -> Mapping[str, list[tuple[str, str, str | None]]]:
    """Ids with the files of each, which are all there, their endings left out."""
    found = {}
    for split, listed in ids(original).items():
        files = [(example.image, example.mask and example.mask.file) for example in each_of(original, split, listed)]
        assert all(image.is_file() and (mask is None or mask.is_file()) for image, mask in files)
        found[split] = [
            (image_id, image.stem, mask and mask.stem) for image_id, (image, mask) in zip(listed, files, strict=True)
        ]
    return found


def each_of(original: Original, split: str, listed: Sequence[str]) -> list[Example]:
    return [original.example(split, image_id) for image_id in listed]


@pytest.mark.parametrize(
    "endings", [(".JPG",), (".jpeg",), (".JPEG",), (".Jpg", ".jPeG"), (".jpg", ".JPG", ".jpeg", ".JPEG")]
)
def test_pictures_of_every_spelling_are_taken(tmp_path: Path, case: Case, endings: tuple[str, ...]) -> None:
    source = tmp_path / "source"
    expected = seen(opened(case.reader, given(source)))
    respelled(source / case.images, endings)
    original = opened(case.reader, given(source))
    assert seen(original) == expected and original.left_out == ()
    done = prepared(case, tmp_path)
    for split, header in done.splits.items():
        assert header.images == len(expected[split]) == len(list((done.folder / split / "image").iterdir()))


@pytest.mark.parametrize("case", MASKED, indirect=True)
@pytest.mark.parametrize("capital", [str.upper, str.title])
def test_masks_of_every_spelling_are_taken(tmp_path: Path, case: Case, capital: Callable[[str], str]) -> None:
    source = tmp_path / "source"
    assert case.masks is not None
    expected = seen(opened(case.reader, given(source)))
    respelled(source / case.masks, (f".{capital(min((source / case.masks).iterdir()).suffix[1:])}",))
    original = opened(case.reader, given(source))
    assert seen(original) == expected and original.left_out == ()


def test_a_limit_takes_some_images_of_any_download_as_they_are(tmp_path: Path, case: Case) -> None:
    whole, some = prepared(case, tmp_path), prepared(case, tmp_path, data="some", limit=1)
    assert {split: header.images for split, header in some.splits.items()} == dict.fromkeys(whole.splits, 1)
    assert set(whole.remarks) <= {*some.remarks, *(each for each in whole.remarks if "published images" in each)}
    for split, header in whole.splits.items():
        assert some.splits[split].limit == (1 if header.images > 1 else None)
        files = [path for path in (some.folder / split).rglob("*") if path.is_file() and path.name != "manifest.jsonl"]
        assert len(files) >= 2  # an image, and its mask or tags
        for path in files:
            assert path.read_bytes() == (whole.folder / path.relative_to(some.folder)).read_bytes()


STRANGERS = (b"Thumbs.db", b"notes.txt", b".DS_Store", b"a.jpg~", b"a.webp", b"without", b"caf\xe9.bmp", b"a\nb.gif")


def added(folder: Path, name: bytes, like: Path | None = None) -> None:
    path = bytes(folder) + b"/" + name
    shutil.copy(like or min(folder.iterdir()), path)


@pytest.mark.parametrize("name", STRANGERS)
@pytest.mark.parametrize(("case", "place"), PLACES, indirect=["case"])
def test_files_of_other_endings_are_said(tmp_path: Path, case: Case, place: str, name: bytes) -> None:
    source, folder = tmp_path / "source", getattr(case, place)
    expected = seen(opened(case.reader, given(source)))
    added(source / folder, name)
    original = opened(case.reader, given(source))
    assert seen(original) == expected
    (said,) = original.left_out
    assert said.startswith(f"{source / folder}: left out: 1 files (") and "the ending is none of ." in said
    assert said.isprintable()


def test_files_of_no_image_are_said_by_prepare(tmp_path: Path, case: Case) -> None:
    source, folder = tmp_path / "source", case.images if case.masks is None else case.masks
    suffix = min((source / folder).iterdir()).suffix
    before = prepared(case, tmp_path)
    for name in ("2007_999901", "2007_999902", "2007_999903", "2007_999904"):
        if case.table == "voc" and case.lists:  # else they are images of train_aug, and missing
            listed = [*test_original_voc.TRAIN, *test_original_voc.EXTRA]
            save_list(source / "VOCdevkit/VOC2012/ImageSets/Segmentation/train_aug.txt", listed)
        added(source / folder, f"{name}{suffix.upper()}".encode())
    after = prepared(case, tmp_path)
    said = [line for line in after.lines() if "left out: 4 files" in line]
    assert len(said) == 1 and set(after.lines()) - set(before.lines()) == set(said)
    assert f"(2007_999901{suffix.upper()}, " in said[0] and ", ...): no image of the split has this name" in said[0]
    assert after.splits == before.splits


def test_pictures_of_other_tasks_are_as_they_should_be(tmp_path: Path) -> None:
    make_voc(tmp_path)
    added(tmp_path / "VOCdevkit" / "VOC2012" / "JPEGImages", b"2011_000001.jpg")
    assert opened(Voc2012(), given(tmp_path)).left_out == ()


@pytest.mark.parametrize("case", ["ade", "stuff, 164k", "laid out"], indirect=True)
def test_two_pictures_of_one_id(tmp_path: Path, case: Case) -> None:
    first = min((tmp_path / "source" / case.images).iterdir())
    shutil.copy(first, first.with_suffix(".JPEG"))
    with pytest.raises(InputError, match="this id stands there twice; remove one of the two"):
        case.reader.open(given(tmp_path / "source"))


def test_images_without_tags_are_said(tmp_path: Path) -> None:
    make_laid_out(tmp_path)
    (tmp_path / "Set" / "train" / "xml" / "b.xml").unlink()
    (said,) = opened(OurLayout(), given(tmp_path)).left_out
    assert "train/xml: nothing of 1 files (b): their tags are the classes in their masks" in said


# In our layout


@pytest.mark.parametrize("ending", [".JPG", ".JPEG", ".PNG", ".jpeg", ".Jpg", ".pNg"])
def test_an_image_in_place_keeps_its_name_and_counts_once(tmp_path: Path, ending: str) -> None:
    make_laid_out(tmp_path)
    layout = DataLayout(tmp_path, "Set")
    image = layout.image("train", "b")
    image = image.rename(image.with_suffix(ending))
    for _ in range(2):
        done = Preparer("x", layout, load_classes("voc"), None, workers=1)(Sources())
        assert done.splits["train"].images == 3
        assert sorted(path.name for path in image.parent.iterdir()) == ["a.jpg", image.name, "c.jpg"]
    assert layout.image("train", "b") == image and layout.ids("train") == ["a", "b", "c"]


def test_every_spelling_is_found_and_the_usual_ones_first(tmp_path: Path) -> None:
    assert spellings(IMAGES)[:6] == (".jpg", ".png", ".jpeg", ".JPG", ".PNG", ".JPEG")
    assert len(spellings(IMAGES)) == 8 + 8 + 16 == len(set(spellings(IMAGES)))
    assert file_of(tmp_path, "a", JPEGS) == tmp_path / "a.jpg"
    for ending in reversed(spellings(MASKS)):
        (tmp_path / f"a{ending}").touch()
        assert file_of(tmp_path, "a", MASKS) == tmp_path / f"a{ending}"
