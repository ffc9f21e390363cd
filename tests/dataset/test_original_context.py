"""The reader of PASCAL Context: three forms of the same masks, and the order of the classes in one of them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from originals import SIZE, examples, given, ids, mask_of, opened, png, save, save_list, save_picture
from pycocotools import mask as coco_masks
from scipy.io import savemat

from dhr.core.errors import InputError
from dhr.dataset.classes import load_classes
from dhr.dataset.original.context import PascalContext
from dhr.dataset.original.masks import source_ids

TABLE = load_classes("context")
TRAIN, VAL = [f"2008_{number:06d}" for number in (2, 3, 7)], [f"2009_{number:06d}" for number in (4, 9)]
SHOWN = {  # classes of each picture; VOC has objects of the first
    TRAIN[0]: ("cat", "wall"), TRAIN[1]: ("table", "floor"), TRAIN[2]: ("person", "sky"),
    VAL[0]: ("train", "track"), VAL[1]: ("sheep", "grass"),
}  # fmt: skip
XML = "<annotation><object><name>{}</name></object></annotation>"
OFTEN = 30  # label of the 459 that is none of the 59


def truth(image_id: str) -> np.ndarray:
    """(H,W) uint8: two classes in the order of our table, 255 elsewhere."""
    mask = np.full(SIZE, 255, np.uint8)
    mask[1:5], mask[6:10] = (TABLE.names.index(name) for name in SHOWN[image_id])
    return mask


def numbers(image_id: str) -> np.ndarray:
    """(H,W) labels of the 459, another one at the right edge."""
    found = np.array([*source_ids("context"), *[0] * 200])[truth(image_id)]
    found[0] = OFTEN
    return found.astype(np.uint16)


def make(root: Path, lists: str = "SegmentationContext") -> Path:
    """Pictures and lists, without masks."""
    home = root / "VOCdevkit" / "VOC2010"
    for name, listed in (("train", TRAIN), ("val", VAL)):
        save_list(home / "ImageSets" / lists / f"{name}.txt", listed)
    for image_id in SHOWN:
        save_picture(home / "JPEGImages" / f"{image_id}.jpg")
    return home


def add_mats(home: Path, listed: list[str] | None = None) -> None:
    (home / "trainval").mkdir(exist_ok=True)
    for image_id in listed or SHOWN:
        savemat(home / "trainval" / f"{image_id}.mat", {"LabelMap": numbers(image_id)}, do_compression=True)


def add_pngs(home: Path, order: str = "by_459_id") -> None:
    labels = np.zeros(256, np.uint8)
    labels[:59] = [TABLE.orders[order].index(name) + 1 for name in TABLE.names]
    for image_id in SHOWN:
        save(home / "SegmentationClassContext" / f"{image_id}.png", labels[truth(image_id)])


def add_annotations(home: Path, listed: list[str] | None = None) -> None:
    (home / "Annotations").mkdir(exist_ok=True)
    for image_id in listed or SHOWN:
        name = SHOWN[image_id][0].replace("table", "diningtable")
        (home / "Annotations" / f"{image_id}.xml").write_text(XML.format(name))


def regions() -> list[dict[str, Any]]:
    """The masks as regions; the whole image, painted over by them, is another label."""
    found = []
    for image_id in SHOWN:
        image, labels = int(image_id.replace("_", "")), numbers(image_id)
        for label in np.unique(labels[labels > 0]):
            encoded = coco_masks.encode(np.asfortranarray(labels == label).astype(np.uint8))
            stated = {"size": list(SIZE), "counts": encoded["counts"].decode()}
            found.append({"image_id": image, "category_id": int(label), "segmentation": stated})
        whole = {"size": list(SIZE), "counts": [0, SIZE[0] * SIZE[1]]}
        found.append({"image_id": image, "category_id": OFTEN, "segmentation": whole})
    return found


def add_list(home: Path) -> None:
    (home / "detail_gt_rle.json").write_text(json.dumps(regions()))


def add_detail(home: Path) -> None:
    document = {"images": [{"image_id": 1}], "annos_segmentation": regions()[::-1], "categories": [{"category_id": 2}]}
    (home / "trainval_merged.json").write_text(json.dumps(document))


def check(original: Any, *, background: bool = False) -> None:
    """All masks are as made, in our order; with a background, that is 0 and classes begin at 1."""
    names = ("background", *TABLE.names) if background else TABLE.names
    assert ids(original) == {"train": TRAIN, "validation": VAL} and original.names == names
    for example in examples(original):
        expected = truth(example.id) + np.uint8(background)  # what is ignored becomes 0
        assert (mask_of(example) == expected).all()
        assert example.image.is_file() and example.annotation is None and example.tags is None


@pytest.mark.parametrize(
    ("add", "form"),
    [(add_mats, ".mat files"), (add_list, "regions of"), (add_detail, "regions of")],
    ids=["mats", "list", "detail"],
)
@pytest.mark.parametrize("source", ["", "VOCdevkit", "VOCdevkit/VOC2010"])
@pytest.mark.parametrize("lists", ["SegmentationContext", "Main"])
def test_forms(tmp_path: Path, add: Callable[[Path], None], form: str, source: str, lists: str) -> None:
    home = make(tmp_path, lists)
    add(home)
    original = opened(PascalContext(), given(tmp_path / source))
    check(original)
    assert form in original.remarks[0]


@pytest.mark.parametrize("add", [add_mats, add_list, add_detail, add_pngs], ids=["mats", "list", "detail", "pngs"])
@pytest.mark.parametrize("order", ["by_459_id", "voc_first"])
def test_sixty_classes(tmp_path: Path, add: Callable[..., None], order: str) -> None:
    home = make(tmp_path)
    add(home, *((order,) if add is add_pngs else ()))
    add_annotations(home)
    check(opened(PascalContext(background=True), given(tmp_path)), background=True)


def test_masks_beside_the_pictures(tmp_path: Path) -> None:
    make(tmp_path)
    add_mats(tmp_path)
    check(opened(PascalContext(), given(tmp_path)))


@pytest.mark.parametrize("order", ["by_459_id", "voc_first"])
@pytest.mark.parametrize("stated", [False, True])
@pytest.mark.parametrize("witness", ["objects", "mats", "nobody"])
def test_order_of_pngs(tmp_path: Path, order: str, stated: bool, witness: str) -> None:
    home = make(tmp_path)
    add_pngs(home, order)
    if witness != "nobody":
        (add_annotations if witness == "objects" else add_mats)(home, TRAIN)
    arguments = given(tmp_path, class_order=order if stated else None)
    if witness == "nobody" and not stated:
        message = (
            "SegmentationClassContext: .*not clear: of 0 masks.*use class_order=by_459_id .* class_order=voc_first"
        )
        with pytest.raises(InputError, match=message):
            PascalContext().open(arguments)
        return
    original = opened(PascalContext(), arguments)
    check(original)
    assert f"PNG files of {home / 'SegmentationClassContext'} in the order {order}" in original.remarks[0]
    assert ("class_order" in original.remarks[0]) == stated


@pytest.mark.parametrize("witness", [add_annotations, add_mats], ids=["objects", "mats"])
def test_a_stated_order_that_is_wrong(tmp_path: Path, witness: Callable[..., None]) -> None:
    home = make(tmp_path)
    add_pngs(home, "voc_first")
    witness(home, TRAIN)
    message = (
        "class_order: by_459_id: not the order .*: of 3 .* 0 fit by_459_id, 3 fit voc_first; leave class_order= out"
    )
    with pytest.raises(InputError, match=message):
        PascalContext().open(given(tmp_path, class_order="by_459_id"))


@pytest.mark.parametrize("wrong", ["few", "half", "third kind"])
def test_evidence_that_is_not_clear(tmp_path: Path, wrong: str) -> None:
    home = make(tmp_path)
    add_pngs(home)
    add_annotations(home, TRAIN[:2] if wrong == "few" else None)
    for image_id in {"few": [], "half": [*TRAIN[:2]], "third kind": [*SHOWN]}[wrong]:
        (home / "Annotations" / f"{image_id}.xml").write_text(XML.format("boat" if wrong == "half" else "bottle"))
    with pytest.raises(InputError, match=r"not clear: of \d masks .*; use class_order="):
        PascalContext().open(given(tmp_path))


@pytest.mark.parametrize("pngs", [False, True])
def test_an_order_that_is_none(tmp_path: Path, pngs: bool) -> None:
    home = make(tmp_path)
    (add_pngs if pngs else add_mats)(home)
    with pytest.raises(InputError, match="class_order: alphabet: no such order; use class_order=by_459_id .*voc_first"):
        PascalContext().open(given(tmp_path, class_order="alphabet"))


def test_a_complete_form_goes_before_an_incomplete_one(tmp_path: Path) -> None:
    home = make(tmp_path)
    add_mats(home, TRAIN)
    original = opened(PascalContext(), given(tmp_path))
    assert ".mat files" in original.remarks[0]
    missing = original.example("validation", VAL[0]).mask
    assert missing is not None
    with pytest.raises(InputError, match=rf"{VAL[0]}\.mat: this mask is missing; restore"):
        missing.read()
    add_list(home)
    assert "regions of" in PascalContext().open(given(tmp_path)).remarks[0]
    add_pngs(home)
    assert "PNG files" in PascalContext().open(given(tmp_path)).remarks[0]
    add_mats(home)
    assert ".mat files" in PascalContext().open(given(tmp_path)).remarks[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"category_id": 460}, r"byte \d+: category_id 460: this data set has no such category; fetch"),
        ({"image_id": 10**11}, "image_id 100000000000: ten digits are due.*; fetch"),
        ({"segmentation": 3}, r"byte \d+: segmentation of size None: .*; fetch"),
        ({"segmentation": {"size": [10**6, 10**6]}}, r"byte \d+: segmentation of size \[1000000, .*; fetch"),
    ],
)
def test_wrong_regions(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    home = make(tmp_path)
    (home / "detail_gt_rle.json").write_text(json.dumps([*regions(), {**regions()[0], **change}]))
    with pytest.raises(InputError, match=rf"detail_gt_rle\.json: {message}"):
        PascalContext().open(given(tmp_path))


def test_files_that_hold_too_little(tmp_path: Path) -> None:
    home = make(tmp_path)
    with pytest.raises(InputError, match=r"source: .*: no masks in it; unpack trainval\.tar\.gz"):
        PascalContext().open(given(tmp_path))
    file = home / "trainval_merged.json"
    file.write_text('{"images": [{"image_id": 1}]}')
    with pytest.raises(InputError, match=r"trainval_merged\.json: no regions in it; fetch"):
        PascalContext().open(given(tmp_path))
    file.write_text(json.dumps([each for each in regions() if each["image_id"] != 2009000004]))
    with pytest.raises(InputError, match=r"merged\.json: no region of 2009_000004, nor of 0 more images; fetch"):
        PascalContext().open(given(tmp_path))
    save_list(home / "ImageSets" / "SegmentationContext" / "val.txt", TRAIN[:1])
    with pytest.raises(InputError, match=f"{TRAIN[0]}: this id is in train and in validation; restore"):
        PascalContext().open(given(tmp_path))
    for folder in ("ImageSets", "JPEGImages"):
        shutil.rmtree(home / folder)
        with pytest.raises(
            InputError, match=f"source: .*{folder}.*; unpack VOCtrainval_03-May-2010.tar and use source="
        ):
            PascalContext().open(given(tmp_path))


@pytest.mark.parametrize("kind", ["png", "mat"])
def test_labels_that_no_form_holds(tmp_path: Path, kind: str) -> None:
    home = make(tmp_path)
    (add_pngs if kind == "png" else add_mats)(home)
    arguments = given(tmp_path, class_order="by_459_id" if kind == "png" else None)
    example = next(examples(opened(PascalContext(), arguments)))
    save(home / "SegmentationClassContext" / f"{TRAIN[0]}.png", np.full(SIZE, 60, np.uint8))
    savemat(home / "trainval" / f"{TRAIN[0]}.mat", {"LabelMap": np.full(SIZE, 460)}) if kind == "mat" else None
    assert example.mask is not None
    with pytest.raises(
        InputError, match=rf"{TRAIN[0]}\.{kind}: label (60|460): this data set has no such label; fetch"
    ):
        example.mask.read()


def test_real_context(shared: Path, tmp_path: Path) -> None:
    """The three forms give the same masks, which are those of the PNGs less one."""
    home = shared / "samples" / "pascal_context"
    voc = home / "VOCdevkit" / "VOC2010"
    for form in ("trainval", "SegmentationClassContext", "detail_gt_rle.json"):
        there = tmp_path / form / "VOC2010"
        there.mkdir(parents=True)
        for path in [voc / "JPEGImages", voc / "ImageSets", home / form if form.endswith("json") else voc / form]:
            (there / path.name).symlink_to(path)
        order = "by_459_id" if form == "SegmentationClassContext" else None
        original = opened(PascalContext(), given(tmp_path / form, class_order=order))
        assert {split: len(listed) for split, listed in original.splits.items()} == {"train": 14, "validation": 6}
        for example in examples(original):
            stored = png(voc / "SegmentationClassContext" / f"{example.id}.png").astype(int)
            assert (mask_of(example) == np.where(stored == 0, 255, stored - 1)).all()
            assert example.image.is_file()


def test_numbers_of_the_classes(shared: Path) -> None:
    stated = json.loads((shared / "samples" / "labels" / "pascal_context.json").read_text())
    assert list(source_ids("context")) == stated["ids459_by_459_id"]
    assert [stated["all_459"][str(number)] for number in source_ids("context")] == list(TABLE.names)


@pytest.mark.parametrize("order", ["by_459_id", "voc_first"])
def test_real_objects_tell_the_order(shared: Path, tmp_path: Path, order: str) -> None:
    """VOC's objects in the pictures, with all their smallness and overlap, are evidence enough."""
    voc = shared / "samples" / "pascal_context" / "VOCdevkit" / "VOC2010"
    objects = json.loads((shared / "samples" / "lists" / "voc2012" / "image_labels.json").read_text())
    labels = np.array([0, *(TABLE.orders[order].index(name) + 1 for name in TABLE.names)], np.uint8)
    for name in ("JPEGImages", "ImageSets"):
        (tmp_path / name).symlink_to(voc / name)
    (tmp_path / "Annotations").mkdir()
    for path in (voc / "SegmentationClassContext").glob("*.png"):
        save(tmp_path / "SegmentationClassContext" / path.name, labels[png(path)])
        stated = "".join(f"<object><name>{name}</name></object>" for name in objects[path.stem])
        (tmp_path / "Annotations" / f"{path.stem}.xml").write_text(f"<annotation>{stated}</annotation>")
    remark = opened(PascalContext(), given(tmp_path)).remarks[0]
    assert f"in the order {order}" in remark and "of 20 masks" in remark
    other = next(each for each in TABLE.orders if each != order)
    assert f"19 fit {order}" in remark and f"0 fit {other}" in remark
