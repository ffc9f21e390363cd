"""The data audit names everything that is wrong with a data set, with file and cure, and its exit code says so."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from audited import (
    SIDE,
    TABLE,
    cut,
    findings,
    flip_a_bit,
    grey,
    image,
    make,
    mask,
    replace_image,
    sixteen_bits,
    tags,
)
from PIL import Image
from tiny import Tiny

from dhr.disk.annotation import write_tags
from dhr.disk.atomic import read_json
from dhr.disk.manifest import NAME, Entry, FileMark, Header, write_manifest
from dhr.disk.mask import encode_mask, read_mask, write_mask


@pytest.fixture
def there(tmp_path: Path) -> Tiny:
    """A whole data set, to be broken."""
    return make(tmp_path)


def turn(there: Tiny) -> None:
    """As a phone stores it: the pixels lie, EXIF says so, and the mask was drawn upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (48, SIDE), "red").save(image(there), exif=exif)
    write_mask(mask(there), np.ones((48, SIDE), np.uint8), TABLE.palette)


def two_names(there: Tiny) -> None:
    for path in (image(there), mask(there), tags(there)):
        place = there.layout.split("validation") / path.parent.name / path.name
        shutil.copy(path, place)


BROKEN: dict[str, tuple[Callable[[Tiny], object], str, str, str, str]] = {
    "zero bytes": (lambda t: image(t).write_bytes(b""), "image: empty", ".jpg", "0 bytes", "fetch"),
    "half a JPEG": (lambda t: cut(image(t)), "image: unreadable", ".jpg", "truncated", "fetch"),
    "HTML": (lambda t: image(t).write_text("<html>"), "image: unreadable", ".jpg", "neither JPEG nor PNG", "fetch"),
    "bit flip": (lambda t: flip_a_bit(mask(t)), "mask: unreadable", "mask/train_00001.png", "checksum", "fetch"),
    "half a PNG": (lambda t: cut(mask(t)), "mask: unreadable", "mask/train_00001.png", "truncated", "fetch"),
    "CMYK": (
        lambda t: Image.new("CMYK", (SIDE, SIDE)).save(image(t)), "image: colour mode", ".jpg", "CMYK", "8-bit RGB",
    ),
    "16-bit RGB": (
        lambda t: replace_image(t, sixteen_bits()), "image: colour mode", ".png", "16 bits", "8-bit RGB",
    ),
    "16-bit grey": (lambda t: replace_image(t, grey(16)), "image: colour mode", ".png", "16 bits", "8-bit RGB"),
    "16-bit mask": (lambda t: mask(t).write_bytes(grey(16)), "mask: mode", ".png", "I;16", "with 8 bits"),
    "4-bit mask": (lambda t: mask(t).write_bytes(grey(4)), "mask: mode", ".png", "4 bits", "with 8 bits"),
    "colour mask": (
        lambda t: Image.new("RGB", (SIDE, SIDE)).save(mask(t)), "mask: mode", ".png", "mode RGB", "class indices",
    ),
    "turned": (turn, "mask: turned", ".png", "EXIF orientation 6", "exif_transpose"),
    "size": (
        lambda t: write_mask(mask(t), np.ones((9, 8), np.uint8), TABLE.palette),
        "mask: size", ".png", "(9, 8)", "again",
    ),
    "label": (
        lambda t: write_mask(mask(t), np.full((SIDE, SIDE), 10, np.uint8), TABLE.palette),
        "mask: label", ".png", "label 10: allowed are 0 to 9", "another data set",
    ),
    "no XML": (lambda t: tags(t).write_text("<annotation><object>"), "tags: unreadable", ".xml", "XML", "fetch"),
    "class": (
        lambda t: tags(t).write_text("<annotation><object><name>unicorn</name></object></annotation>"),
        "tags: unknown class", ".xml", "'unicorn'", "ember_disc",
    ),
    "mask away": (lambda t: mask(t).unlink(), "mask: missing", ".png", "missing", "restore"),
    "tags away": (lambda t: tags(t).unlink(), "tags: missing", ".xml", "missing", "dhr.prepare"),
    "same id": (two_names, "id in two splits", ".jpg", "validation", "take it out"),
    "id": (lambda t: image(t).rename(image(t).with_stem("a b")), "image: name", "a b.jpg", "id", "letters"),
    "twice": (lambda t: shutil.copy(image(t), image(t).with_suffix(".png")), "image: twice", ".png", "id", "delete"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files_are_named_with_their_cure(there: Tiny, case: str) -> None:
    damage, kind, file, problem, cure = BROKEN[case]
    damage(there)
    found = [each for each in findings(there, broken=True) if each["kind"] == kind]
    assert len(found) == 1
    said = found[0]
    assert (said["severity"], said["split"]) == ("broken", "train")
    assert said["file"].endswith(file) and problem in said["problem"] and cure in said["cure"]


def retag(there: Tiny, names: list[str]) -> None:
    write_tags(tags(there), (SIDE, SIDE), names)


def upside_down(there: Tiny) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.new("RGB", (SIDE, SIDE), "red").save(image(there), exif=exif)


REMARKS: dict[str, tuple[Callable[[Tiny], object], str, str]] = {
    "tag without pixels": (lambda t: retag(t, list(TABLE.names[1:])), "tag without pixels", "moss_star"),
    "pixels without tag": (lambda t: retag(t, []), "pixels without tag", "not tagged"),
    "no tags": (lambda t: retag(t, []), "tags: none", "no object"),
    "EXIF": (upside_down, "image: EXIF orientation", "orientation 3"),
    "mask too many": (lambda t: shutil.copy(mask(t), mask(t).with_stem("x")), "mask: extra", "no such image"),
    "XML too many": (lambda t: shutil.copy(tags(t), tags(t).with_stem("x")), "tags: extra", "no such image"),
    "foreign": (lambda t: (mask(t).parent / "Thumbs.db").write_bytes(b"x"), "foreign file", "not a file that belongs"),
    "left over": (lambda t: (mask(t).parent / ".a.png.x.part").write_bytes(b"x"), "foreign file", "killed"),
    "same picture": (
        lambda t: shutil.copy(image(t), t.layout.image("validation", "validation_00000")),
        "picture in two splits", "validation_00000.jpg",
    ),
    "size": (lambda t: None, "number of images", "4, fewer than the published 240"),
    "manifest": (lambda t: None, "manifest: missing", "not noticed"),
    "split": (lambda t: shutil.rmtree(t.layout.split("validation")), "split: missing", "not on disk"),
}  # fmt: skip


@pytest.mark.parametrize("case", REMARKS)
def test_remarks_alone_end_well(there: Tiny, case: str) -> None:
    damage, kind, problem = REMARKS[case]
    damage(there)
    found = findings(there, broken=False)
    assert {each["severity"] for each in found} == {"remark"}
    assert any(each["kind"] == kind and problem in each["problem"] and each["cure"] for each in found), found


def test_grey_images_and_splits_without_masks_are_fine(there: Tiny) -> None:
    Image.new("L", (SIDE, SIDE)).save(image(there))
    (there.layout.split("test") / "image").mkdir(parents=True)
    shutil.copy(there.layout.image("train", "train_00000"), there.layout.split("test") / "image" / "test_00000.jpg")
    kinds = {each["kind"] for each in findings(there, broken=False)}
    assert kinds == {"manifest: missing", "number of images", "picture in two splits"}


# Manifest


def write_true_manifest(there: Tiny, *entries: Entry, split: str = "train") -> None:
    """What prepare would write, and `entries` besides."""
    layout, listed = there.layout, []
    for image_id in layout.ids(split):
        marks = [
            FileMark.of(path.read_bytes()) for path in (layout.image(split, image_id), layout.mask(split, image_id))
        ]
        labels = dict(enumerate(np.bincount(read_mask(layout.mask(split, image_id)).ravel(), minlength=256).tolist()))
        names = tuple(TABLE.names[at] for at, pixels in labels.items() if pixels and at)
        listed.append(Entry(image_id, (SIDE, SIDE), names, labels, *marks))
    header = Header("toy", split, len(listed), {"xml": len(listed)}, "x", TABLE.names)
    write_manifest(layout.split(split), header, sorted([*listed, *entries], key=lambda entry: entry.id))


def manifest_kinds(there: Tiny, *, broken: bool = True) -> set[str]:
    found = findings(there, "split=train", broken=broken)
    return {each["kind"] for each in found} - {"number of images"}


def test_a_true_manifest_is_no_finding(there: Tiny) -> None:
    write_true_manifest(there)
    assert manifest_kinds(there, broken=False) == set()
    (split,) = read_json(there.root / "outputs" / "toy" / "audit" / "audit.json")["splits"]
    assert (split["images"], split["published"], split["tags_from"]) == (4, 240, {"xml": 4})


@pytest.mark.parametrize(("damage", "kind"), [
    (lambda t: Image.new("RGB", (SIDE, SIDE)).save(image(t)), "image: changed"),
    (lambda t: mask(t).write_bytes(encode_mask(read_mask(mask(t)), TABLE.palette) + b"x"), "mask: changed"),
    (lambda t: retag(t, ["moss_ring"]), "tags: changed"),
    (lambda t: image(t).unlink(), "image: missing"),
    (lambda t: shutil.rmtree(mask(t).parent), "mask: missing"),
    (lambda t: shutil.rmtree(tags(t).parent), "tags: missing"),
    (lambda t: shutil.copy(image(t), image(t).with_stem("x")), "manifest: image not in it"),
    (lambda t: (t.layout.split("train") / NAME).write_text("[]"), "manifest: unreadable"),
    (lambda t: (t.layout.split("train") / NAME).write_text("[" * 99_999), "manifest: unreadable"),
])  # fmt: skip
def test_files_that_changed_since_prepare(there: Tiny, damage: Callable[[Tiny], object], kind: str) -> None:
    write_true_manifest(there)
    damage(there)
    assert kind in manifest_kinds(there)
