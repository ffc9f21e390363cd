"""Images of the user's own: what is given is prepared as it is meant, or refused with place, value and cure."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from downloads import SIZE, pack, picture, save
from photographs import CLASSES, TAGS, Own
from PIL import Image

from dhr.config.compose import compose
from dhr.core.errors import InputError
from dhr.dataset.classes import classes_of
from dhr.disk.atomic import read_json
from dhr.disk.image import read_image
from dhr.disk.mask import read_mask, write_mask
from dhr.stage.prepare import prepare


@pytest.fixture
def own(tmp_path: Path) -> Own:
    return Own(tmp_path)


def test_images_tags_classes_and_settings(own: Own) -> None:
    prepared = own.prepare()
    assert own.placed() == {name: tuple(sorted(tags)) for name, tags in TAGS.items()}
    assert read_json(own.layout.home / "mine.json") == {"names": CLASSES, "ignore": 255}
    table = classes_of(own.layout.home, "own")
    assert (list(table.names), table.first_tag, table.palette[2]) == (CLASSES, 1, (0, 128, 0))
    assert sum(header.images for header in prepared.splits.values()) == len(TAGS)
    assert own.layout.image("train", "a").samefile(own.photos / "a.png")
    cfg = compose("train", [f"paths.data={own.root / 'data'}", "dataset=mine"])
    assert (cfg.dataset.name, cfg.dataset.folder, cfg.dataset.batch_size) == ("mine", "mine", 2)
    assert cfg.choices.backbone == "efficientnet_lite0"


def test_the_published_recipe_can_be_chosen(own: Own) -> None:
    own.prepare("dataset=folder_paper")
    cfg = compose("train", [f"paths.data={own.root / 'data'}", "dataset=mine", "wss=cam"])
    assert (cfg.choices.backbone, cfg.dataset.crop_size, cfg.dataset.classes) == ("resnet101", 512, "own")


def test_a_second_call_does_nothing_and_another_tag_is_taken(own: Own) -> None:
    own.prepare()
    before = {path: path.stat().st_mtime_ns for path in (own.root / "data").rglob("*")}
    own.prepare("dataset=mine")
    assert {path: path.stat().st_mtime_ns for path in (own.root / "data").rglob("*")} == before
    own.write(*(f"{name},{'cat' if name == 'b' else 'dog;bird'}" for name in TAGS))
    own.prepare("dataset=mine", "classes=bird,cat,dog")
    assert own.placed() == {name: ("cat",) if name == "b" else ("bird", "dog") for name in TAGS}
    assert read_json(own.layout.home / "mine.json")["names"] == CLASSES


def test_images_that_are_added_move_none(own: Own) -> None:
    own.prepare("validation=0.4")
    before = {split: {*own.layout.ids(split)} for split in ("train", "validation")}
    for number in range(20):
        save(own.photos / f"more{number}.png", picture(number))
    own.write(*(f"{path.name},cat;dog;bird" for path in own.photos.iterdir()))
    own.prepare("validation=0.4")
    assert all(ids <= {*own.layout.ids(split)} for split, ids in before.items())
    assert 4 <= len(own.layout.ids("validation")) <= 16


# Originals that the strict reader would not take, or not as they are meant


GREY16 = picture(0)[..., 0].astype(np.uint16) * 257


def turned(path: Path) -> None:
    exif = Image.Exif()
    exif[0x112] = 6
    Image.fromarray(picture(0)).save(path, "JPEG", quality=95, exif=exif)


STRANGE: dict[str, tuple[str, Callable[[Path], object], tuple[int, int], str]] = {
    "WEBP": ("x.webp", lambda path: Image.fromarray(picture(0)).save(path, lossless=True), SIZE, ".png"),
    "BMP": ("x.bmp", lambda path: Image.fromarray(picture(0)).save(path), SIZE, ".png"),
    "TIFF": ("x.TIF", lambda path: Image.fromarray(picture(0)).save(path, "TIFF"), SIZE, ".png"),
    "GIF": ("x.gif", lambda path: Image.fromarray(picture(0)).save(path), SIZE, ".png"),
    "CMYK": ("x.jpg", lambda path: Image.fromarray(picture(0)).convert("CMYK").save(path), SIZE, ".png"),
    "16 bits": ("x.png", lambda path: Image.fromarray(GREY16).save(path), SIZE, ".png"),
    "transparent": ("x.png", lambda path: Image.fromarray(picture(0)).convert("RGBA").save(path), SIZE, ".png"),
    "turned": ("x.jpg", turned, SIZE[::-1], ".jpg"),
    "another name for JPEG": ("x.jfif", lambda path: Image.fromarray(picture(0)).save(path, "JPEG"), SIZE, ".jpg"),
}  # fmt: skip


@pytest.mark.parametrize("case", STRANGE)
def test_other_images_are_converted(own: Own, case: str) -> None:
    name, write, size, ending = STRANGE[case]
    write(own.photos / name)
    own.write("a,cat", f"{name},dog")
    own.prepare("validation=0")
    placed = own.layout.image("train", "x")
    assert placed.suffix == ending and own.entries()["x"].size == size
    expected = picture(0) if size == SIZE else np.rot90(picture(0), -1)
    expected = expected[..., :1].repeat(3, 2) if case == "16 bits" else expected
    assert np.abs(read_image(placed).astype(int) - expected).mean() < (12 if case == "GIF" else 4)
    assert own.entries()["x"].original == (None if case == "another name for JPEG" else name)


def test_large_images_and_their_masks_are_made_smaller(own: Own) -> None:
    Image.fromarray(picture(0)).resize((360, 240)).save(own.photos / "a.png")
    for name in TAGS:
        shape = (240, 360) if name == "a" else SIZE
        mask = np.zeros(shape, np.uint8)
        mask[: shape[0] // 2] = 2
        write_mask(own.root / "masks" / f"{name}.png", mask, [(9, 9, 9)] * 4)
    own.prepare("dataset.image_size=36", f"masks={own.root / 'masks'}", "validation=0")
    assert own.entries()["a"].size == SIZE and own.entries()["a"].labels == {0: 12 * 36, 2: 12 * 36}
    for name in TAGS:
        assert (read_mask(own.layout.mask("train", name)) == np.array([[2]] * 12 + [[0]] * 12)).all()


# Folders per class, masks, what is scored


def test_a_folder_per_class_needs_no_tag_file(own: Own) -> None:
    for place, name in (("cat/1", "a"), ("dog/1", "b"), ("dog/2", "c"), ("cat/copy of 2", "c")):
        (own.root / "sorted" / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(own.photos / f"{name}.png", own.root / "sorted" / f"{place}.png")
    own.prepare(f"images={own.root / 'sorted'}", "tags=null", "validation=0")
    assert own.placed() == {"cat_1": ("cat",), "dog_1": ("dog",), "cat_copy_of_2": ("cat", "dog")}


def test_what_was_made_beside_the_images_is_not_taken_for_one(own: Own) -> None:
    own.masks(*TAGS)
    words = (f"images={own.root}", f"masks={own.root / 'masks'}", "validation=0")
    own.prepare(*words)
    assert own.placed().keys() == {f"photos_{name}" for name in TAGS}
    prepared = own.prepare(*words)
    assert not any("left out" in remark for remark in prepared.remarks)


def test_an_archive_of_images_is_taken(own: Own) -> None:
    archive = pack(own.photos, own.root / "photos.zip")
    own.prepare(f"images={archive}")
    assert own.placed() == {f"photos_{name}": tuple(sorted(tags)) for name, tags in TAGS.items()}
    assert own.layout.image("train", "photos_a").is_file()
    assert {path.name for path in (own.root / "data").iterdir()} == {"configs", "mine"}


def test_the_same_in_several_processes(own: Own) -> None:
    for number in range(70):
        save(own.photos / f"more{number}.png", picture(number))
    own.write(*(f"{path.name},{'cat' if number % 2 else 'dog'}" for number, path in enumerate(own.photos.iterdir())))
    own.prepare()
    own.prepare("name=other", "workers=2")
    left, right = (own.root / "data" / name / "train" / "manifest.jsonl" for name in ("mine", "other"))
    assert left.read_text().splitlines()[1:] == right.read_text().splitlines()[1:]


@pytest.mark.parametrize(
    ("masked", "words", "validated", "kept"),
    [
        (TAGS, ("validation=0",), set(), TAGS),
        (("a", "e"), (), {"a", "e"}, {"a", "e"}),
        (("a", "e"), ("validation=list",), {"a"}, {"a"}),
        (TAGS, ("validation=list",), {"a"}, TAGS),
        ((), ("validation=list",), {"a"}, ()),
    ],
)
def test_masks_are_for_what_is_validated_on(
    own: Own, masked: tuple[str, ...], words: tuple[str, ...], validated: set[str], kept: tuple[str, ...]
) -> None:
    (own.root / "list").write_text("photos/a.jpg\n\n")
    given = [own.masks(*masked)] if masked else []
    own.prepare(*given, *(word.replace("list", str(own.root / "list")) for word in words))
    there = [split for split in ("train", "validation") if own.layout.split(split).is_dir()]
    assert {split: {*own.layout.ids(split)} for split in there} == {
        "train": {*TAGS} - validated,
        **({"validation": validated} if validated else {}),
    }
    assert {image_id for image_id, entry in own.entries().items() if entry.mask is not None} == {*kept}


def test_a_validation_without_all_masks_is_refused(own: Own) -> None:
    (own.root / "list").write_text("a\nb\n")
    with pytest.raises(InputError, match=r"masks: .*: no mask of b\.png and 0 more; validate on images that have"):
        own.prepare(own.masks("a"), f"validation={own.root / 'list'}")
    (own.root / "list").write_text("a\nz\n")
    with pytest.raises(InputError, match=r"list: z: no tagged image is called so"):
        own.prepare(f"validation={own.root / 'list'}")


def test_every_other_command_says_how_to_begin(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"folder\.json: states no classes, .* python -m dhr\.prepare dataset=folder name"
    ):
        classes_of(tmp_path / "folder", "own")
    with pytest.raises(InputError, match="source: null: where is the download"):
        cfg = compose("prepare", [f"paths.data={tmp_path}", "dataset=folder", "name=x", "images=."])
        cfg.images, cfg.dataset.name = None, "x"
        prepare(cfg)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["cat", "dog"], "cat: the first class has to be background"),
        ([], "names: the first class has to be background"),
        (["background", "cat", "cat"], "cat: this class stands there twice"),
        (["background", *map(str, range(255))], "256 classes; masks hold at most 255"),
    ],
)
def test_a_broken_table_of_classes_is_refused(tmp_path: Path, names: list[str], message: str) -> None:
    (tmp_path / f"{tmp_path.name}.json").write_text(json.dumps({"names": names}))
    with pytest.raises(InputError, match=message):
        classes_of(tmp_path, "own")
