"""The reader of COCO 2014: masks as pycocotools paints them, in the order of the file."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given as examined
from hypothesis import strategies as st
from originals import SIZE, examples, given, ids, mask_of, opened, save_picture
from pycocotools import mask as coco_masks
from pycocotools.coco import COCO

from dhr.core.errors import InputError
from dhr.dataset.classes import load_classes
from dhr.dataset.original.coco import Coco2014
from dhr.dataset.original.masks import source_ids
from dhr.dataset.original.regions import expanded, region
from dhr.dataset.original.stuff import CocoStuff

NAMES = load_classes("coco").names
PLACE = "made.json: byte 7"


def coco(file: Path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(file))


def painted(file: Path, stem: str) -> tuple[np.ndarray, set[str]]:
    """Mask and tags by pycocotools and a slow loop."""
    api = coco(file)
    image = next(image for image in api.dataset["images"] if image["file_name"] == f"{stem}.jpg")
    annotations = [each for each in api.dataset["annotations"] if each["image_id"] == image["id"]]
    names = {each["id"]: each["name"] for each in api.dataset["categories"]}
    mask = np.zeros((image["height"], image["width"]), np.uint8)
    for annotation in annotations:
        if annotation["iscrowd"]:
            mask[api.annToMask(annotation) == 1] = 255
    for annotation in annotations:
        if not annotation["iscrowd"]:
            mask[api.annToMask(annotation) == 1] = NAMES.index(names[annotation["category_id"]])
    return mask, {names[annotation["category_id"]] for annotation in annotations}


def test_real_coco(shared: Path) -> None:
    home = shared / "samples" / "coco2014"
    original = opened(Coco2014(), given(home))
    listed = ids(original)
    assert (len(listed["train"]), len(listed["validation"])) == (14, 11)
    assert original.remarks == ("train: 1 of 15 images, without annotation, are left out",)
    for example in examples(original):
        file = home / "annotations" / f"instances_{example.image.parent.name}.json"
        mask, tags = painted(file, example.id)
        assert (mask_of(example) == mask).all()
        assert example.tags == tuple(name for name in NAMES if name in tags)
        assert example.image.is_file() and example.annotation is None


def test_painting_agrees_with_the_pixel_maps_of_coco_stuff(shared: Path) -> None:
    samples, stem = shared / "samples", "000000018380"
    stuff = opened(CocoStuff(), given(samples / "coco_stuff164k"))
    official = mask_of(stuff.example("validation", stem))
    api = coco(samples / "coco2014" / "extra_stuff_json" / "stuff_trainval.json")
    expected = np.full(official.shape, 255, np.uint8)
    for annotation in api.imgToAnns[int(stem)]:
        if annotation["category_id"] in source_ids("stuff"):  # not 183, which stands for all things
            expected[api.annToMask(annotation) == 1] = source_ids("stuff").index(annotation["category_id"])
    things = mask_of(opened(Coco2014(), given(samples / "coco2014")).example("validation", f"COCO_val2014_{stem}"))
    expected = np.where(things == 0, expected, np.where(things == 255, 255, things - 1))
    assert (things == 255).any() and (official == expected).all()


def square(top: int, left: int, side: int) -> list[float]:
    return [left, top, left + side, top, left + side, top + side, left, top + side]


def annotation(image: int, category: int, stated: Any, crowd: int = 0) -> dict[str, Any]:
    return {"id": 1, "image_id": image, "category_id": category, "segmentation": stated, "iscrowd": crowd}


def run_lengths(mask: np.ndarray) -> list[int]:
    """Uncompressed run lengths of a (H,W) bool mask, by a slow loop."""
    counts, inside = [0], False
    for pixel in mask.T.ravel():
        if bool(pixel) != inside:
            counts, inside = [*counts, 0], not inside
        counts[-1] += 1
    return counts


CROWD = np.zeros(SIZE, bool)
CROWD[:, 9:] = True
COMPRESSED = coco_masks.encode(np.asfortranarray(CROWD.astype(np.uint8)))["counts"].decode()
ANNOTATIONS = [
    annotation(7, 90, [square(1, 1, 4)]),
    annotation(3, 1, [square(2, 2, 3), square(6, 8, 4)]),
    annotation(7, 17, {"size": list(SIZE), "counts": run_lengths(CROWD)}, crowd=1),
    annotation(7, 18, [square(3, 3, 8)]),
    annotation(3, 13, {"size": list(SIZE), "counts": COMPRESSED}),
    annotation(7, 18, [[1, 1, 2, 2], []]),  # no corner, or two of them: nothing inside
]  # fmt: skip


def images(split: str) -> list[dict[str, Any]]:
    return [
        {"id": number, "file_name": f"COCO_{split}2014_{number:012d}.jpg", "height": SIZE[0], "width": SIZE[1]}
        for number in (7, 5, 3)
    ]


def make(root: Path, **changed: Any) -> Path:
    """A small COCO; `changed` replaces keys of the training file."""
    for split in ("train", "val"):
        whole = {"info": {"é": 1}, "annotations": ANNOTATIONS, "images": images(split)}
        file = root / "annotations" / f"instances_{split}2014.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps({**whole, **(changed if split == "train" else {})}, ensure_ascii=False))
        for image in images(split):
            save_picture(root / f"{split}2014" / image["file_name"])
    return root


def test_made_coco(tmp_path: Path) -> None:
    original = opened(Coco2014(), given(make(tmp_path)))
    listed = ["COCO_train2014_000000000003", "COCO_train2014_000000000007"]
    assert ids(original)["train"] == listed
    assert len(original.remarks) == 2 and original.names is None
    one, other = (original.example("train", image_id) for image_id in listed)
    assert one.tags == ("person", "stop sign") and other.tags == ("cat", "dog", "toothbrush")
    expected = np.zeros(SIZE, np.uint8)
    expected[CROWD] = 255
    expected[1:5, 1:5] = NAMES.index("toothbrush")
    expected[3:11, 3:11] = NAMES.index("dog")
    assert (mask_of(other) == expected).all()
    assert (mask_of(one)[:, 9:] == NAMES.index("stop sign")).all() and mask_of(one)[3, 3] == NAMES.index("person")
    with pytest.raises(KeyError):
        original.example("train", "COCO_train2014_000000000005")


def test_pictures_in_a_folder_images(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "images").mkdir()
    for name in ("train2014", "val2014"):
        (tmp_path / name).rename(tmp_path / "images" / name)
    original = opened(Coco2014(), given(tmp_path))
    assert all(example.image.is_file() for example in examples(original))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"annotations": [annotation(7, 12, [])]}, r"byte \d+: category_id 12: .* no such category; fetch"),
        ({"annotations": [annotation(7, 91, [])]}, r"byte \d+: category_id 91: .*; fetch"),
        ({"annotations": [annotation(8, 1, [])]}, r"byte \d+: image_id 8: there is no such image in this file; fetch"),
        ({"annotations": [{"image_id": 7}]}, r"byte \d+: iscrowd is None: .*; fetch"),
        ({"annotations": []}, "no images and annotations in it; fetch"),
        ({"images": [{**images("train")[0], "file_name": "../x.jpg"}]}, r"byte \d+: file_name '../x.jpg': .*; fetch"),
        ({"images": [{**images("train")[0], "file_name": "a/b.jpg"}]}, r"byte \d+: file_name 'a/b.jpg': .*; fetch"),
        ({"images": [{**images("train")[0], "file_name": "b.gif"}]}, r"byte \d+: file_name 'b.gif': .*; fetch"),
        ({"images": [{**images("train")[0], "height": 0}]}, r"byte \d+: size 0 x 16: .*; fetch"),
        ({"images": [{**images("train")[0], "height": 10**9}]}, r"byte \d+: size 1000000000 x 16: .*; fetch"),
        ({"images": [*images("train"), images("train")[0]]}, "same number; fetch"),
        ({"images": [*images("train"), {**images("train")[0], "id": 9}]}, "0007: this id stands there twice; remove"),
        ({"images": [3]}, r"byte \d+: file_name None.*; fetch"),
    ],
)  # fmt: skip
def test_wrong_annotations(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    make(tmp_path, **changed)
    with pytest.raises(InputError, match=rf"instances_train2014\.json: .*{message}"):
        Coco2014().open(given(tmp_path))


@pytest.mark.parametrize("missing", ["train2014", "val2014", "annotations"])
def test_what_is_missing_is_named(tmp_path: Path, missing: str) -> None:
    (make(tmp_path) / missing).rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=f"source: .*{missing}.*; unpack .* and use source="):
        Coco2014().open(given(tmp_path))


def test_a_file_that_changes_meanwhile(tmp_path: Path) -> None:
    example = next(examples(opened(Coco2014(), given(make(tmp_path)))))
    assert example.mask is not None
    example.mask.file.write_text("[" * 2000)
    with pytest.raises(InputError, match=r"instances_train2014\.json: byte \d+: no segmentation; fetch"):
        example.mask.read()
    example.mask.file.unlink()
    with pytest.raises(InputError, match=r"instances_train2014\.json: not readable .*; restore"):
        example.mask.read()


@pytest.mark.parametrize(
    "stated",
    [
        None, "text", {}, {"counts": [192]}, {"size": [16, 12], "counts": [192]}, [3], [None], [[1, 2, 3]],
        [[1, 2, 3, 4, 5, "6"]], [[0, 0, 1e9, 0, 1e9, 1e9]], [[0, 0, float("nan"), 0, 1, 1]],
        *({"size": list(SIZE), "counts": counts} for counts in ([191], [-1, 193], [1.5, 190.5], [10**30], 192)),
        *({"size": list(SIZE), "counts": counts} for counts in ("", "o", "\x00", "é")),
    ],
)  # fmt: skip
def test_wrong_regions(stated: Any) -> None:
    with pytest.raises(InputError, match=rf"{PLACE}: .*; fetch this file again"):
        region(stated, SIZE, PLACE)


@examined(bits=st.lists(st.booleans(), min_size=192, max_size=192))
def test_run_lengths_as_pycocotools_has_them(bits: list[bool]) -> None:
    mask = np.array(bits).reshape(SIZE)
    encoded = coco_masks.encode(np.asfortranarray(mask.astype(np.uint8)))
    text = encoded["counts"].decode()
    assert expanded(text, PLACE) == run_lengths(mask)
    for counts in (text, run_lengths(mask)):
        assert (region({"size": list(SIZE), "counts": counts}, SIZE, PLACE) == mask).all()


def test_polygons_as_pycocotools_has_them() -> None:
    rng = np.random.default_rng(2)
    for _ in range(50):
        polygons = [rng.uniform(-3, 19, 2 * corners).round(2).tolist() for corners in rng.integers(3, 9, 3)]
        api = COCO()
        api.imgs = {1: {"height": SIZE[0], "width": SIZE[1]}}
        assert (region(polygons, SIZE, PLACE) == api.annToMask({"image_id": 1, "segmentation": polygons})).all()


def test_ids_of_categories(shared: Path) -> None:
    stated = json.loads((shared / "samples" / "labels" / "coco2014.json").read_text())
    assert dict(zip(map(str, source_ids("coco")), range(1, 81), strict=True)) == stated["category_id_to_index"]
