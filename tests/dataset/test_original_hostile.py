"""Downloads that were made to do harm: refused fast with file and cure, and nothing outside their folder is opened."""

import json
import os
import struct
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from audited import PNG_START, png
from originals import SIZE, given, save_list, save_picture

from dhr.core.errors import InputError
from dhr.dataset.classes import load_classes
from dhr.dataset.original.ade import Ade2016
from dhr.dataset.original.coco import Coco2014
from dhr.dataset.original.context import PascalContext
from dhr.dataset.original.interface import Download
from dhr.dataset.original.masks import MAT_BYTES, MappedMat
from dhr.dataset.original.regions import RegionMask, region
from dhr.dataset.original.stuff import CocoStuff
from dhr.dataset.original.voc import Voc2012
from dhr.dataset.prepare.preparer import Preparer, Sources
from dhr.disk.layout import DataLayout
from dhr.disk.reading import PIXELS

PLACE = "made.json: byte 7"
PIXELS_OF = SIZE[0] * SIZE[1]
BIG = (480, 640)


@contextmanager
def refused(said: str) -> Iterator[None]:
    """An InputError of one line with a cure, within a second of CPU time, which a busy machine does not lengthen."""
    started = time.process_time()
    with pytest.raises(InputError, match=said) as caught:
        yield
    assert time.process_time() - started < 1
    message = str(caught.value)
    assert "; " in message and len(message) < 700 and "Traceback" not in message


def stated(counts: Any, size: tuple[int, int] = SIZE) -> dict[str, Any]:
    return {"size": list(size), "counts": counts}


def zigzag(points: int, size: tuple[int, int]) -> list[float]:
    return [float(value) for at in range(points) for value in (at % 2 * size[1], at * 7 % size[0])]


REGIONS: dict[str, tuple[Any, tuple[int, int]]] = {
    **{
        f"counts {str(counts)[:30]}": (stated(counts), SIZE)
        for counts in (
            [-1, PIXELS_OF + 1], [10**18, -(10**18) + PIXELS_OF], [10**18], [10**4000] * 99, [PIXELS_OF - 1], [],
            [0] * 10**6 + [PIXELS_OF], [float("inf")], [float("nan")], [None], [[PIXELS_OF]], {"0": PIXELS_OF}, 3,
        )
    },
    "a compressed number without end": (stated("o" * 10**6), SIZE),
    "a long compressed number": (stated("o" * 12 + "0"), SIZE),
    "many compressed numbers": (stated("0" * 10**7), SIZE),
    "a long compressed number in a large image": (stated("o" * 10**6 + "0", BIG), BIG),
    "many polygons": ([[0, 0, 1, 0, 1, 1]] * 10**5, SIZE),
    "a polygon of many points": ([zigzag(10**5, BIG)], BIG),
    "polygons that go round": ([[0, 0, 600, 0, 600, 400] * 2000], BIG),
    **{
        f"a corner at {corner}": ([[0, 0, corner, 0, 1, 1]], SIZE)
        for corner in (float("nan"), float("inf"), -float("inf"), 1e300, 10**400, -(10**18), "1", None, [1])
    },
    "another size": (stated([10**8], (10**4, 10**4)), SIZE),
}  # fmt: skip


@pytest.mark.parametrize("case", REGIONS)
def test_regions_that_no_image_has(case: str) -> None:
    value, size = REGIONS[case]
    with refused(rf"^{PLACE}: .*; fetch this file again"):
        region(value, size, PLACE)


@pytest.mark.parametrize("size", [SIZE, BIG, (2000, 3000)])
def test_outlines_of_objects_are_drawn(size: tuple[int, int]) -> None:
    corners = np.random.default_rng(0).random((2000, 2)) * [size[1], size[0]]
    few = corners[: 20 if size == SIZE else 2000]
    assert region([few.ravel().tolist()] * 3, size, PLACE).any()


def make_coco(root: Path, *, height: Any, width: Any, file_name: Any = "a.jpg", segmentation: Any) -> Path:
    """One image of SIZE in each split, of which the file states whatever is given."""
    for split in ("train", "val"):
        name = f"{split}.jpg" if file_name == "a.jpg" else file_name
        image = {"id": 1, "file_name": name, "height": height, "width": width}
        annotation = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "segmentation": segmentation}
        file = root / "annotations" / f"instances_{split}2014.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"images": [image], "annotations": [annotation]}))
        save_picture(root / f"{split}2014" / f"{split}.jpg")
    return root


def prepare_coco(root: Path) -> None:
    layout = DataLayout(root / "data", "COCO2014")
    Preparer("coco", layout, load_classes("coco"), Coco2014(), workers=1)(Sources(source=root))


@pytest.mark.parametrize("side", [13, 1000, 9000])
@pytest.mark.parametrize("form", ["polygons", "run lengths"])
def test_a_size_that_the_image_has_not(tmp_path: Path, side: int, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    segmentation = [[0, 0, 5, 0, 5, 5]] if form == "polygons" else stated([0, side * side], (side, side))
    make_coco(tmp_path, height=side, width=side, segmentation=segmentation)
    monkeypatch.setattr(RegionMask, "read", lambda _: pytest.fail("painted"))
    with refused(rf"instances_train2014\.json: size \({side}, {side}\): its image .*train\.jpg has \(12, 16\)"):
        prepare_coco(tmp_path)


@pytest.mark.parametrize("side", [10_000, 10**9, 10**18, 10**400, -8, 0, 1.5, "8", None])
def test_a_size_that_no_image_has(tmp_path: Path, side: Any) -> None:
    make_coco(tmp_path, height=side, width=side, segmentation=[[0, 0, 5, 0, 5, 5]])
    assert PIXELS < 10_000**2
    with refused(r"instances_train2014\.json: byte \d+: .*; fetch this file again"):
        prepare_coco(tmp_path)
    assert not (tmp_path / "data").exists()


NAMES = ["../a", "/etc/passwd", "..", "a/b", "a\\b", ".a", "a\0b", "a\nb", "x" * 201, "x" * 10**5, "caf\xe9", "\ud800"]


@pytest.mark.parametrize("name", [*NAMES, "", 3, None, ["a.jpg"]], ids=ascii)
def test_names_of_images_in_json(tmp_path: Path, name: Any) -> None:
    file_name = f"{name}.jpg" if isinstance(name, str) else name
    make_coco(tmp_path, height=SIZE[0], width=SIZE[1], file_name=file_name, segmentation=[[0, 0, 5, 0, 5, 5]])
    with refused(r"instances_train2014\.json: byte \d+: file_name .*; fetch this file again"):
        prepare_coco(tmp_path)


LISTS: dict[str, tuple[Download, str, str]] = {
    "voc": (Voc2012(), "VOC2012/ImageSets/Segmentation", "VOC2012/JPEGImages"),
    "context": (PascalContext(), "VOC2010/ImageSets/Main", "VOC2010/JPEGImages"),
    "stuff": (CocoStuff(), "imageLists", "images"),
}


@pytest.mark.parametrize("reader", LISTS)
@pytest.mark.parametrize("image_id", [name for name in NAMES if name.isprintable() or "\0" in name])
def test_ids_of_lists(tmp_path: Path, reader: str, image_id: str) -> None:
    download, lists, pictures = LISTS[reader]
    for name in ("train", "val", "test"):
        save_list(tmp_path / lists / f"{name}.txt", ["a", image_id])
    save_picture(tmp_path / pictures / "a.jpg")
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "a.mat").touch()
    with refused(r"\.txt: '.*': not an id; rename"):
        download.open(given(tmp_path))


@pytest.mark.parametrize("mask", ["bomb", "no picture", "half a header"])
def test_the_first_mask_of_ade(tmp_path: Path, mask: str) -> None:
    bomb = png(30_000, 30_000, depth=8, colour=3, rows=b"")
    content = {"bomb": bomb, "no picture": b"GIF89a", "half a header": PNG_START + bomb[8:20]}[mask]
    for kind, name in (("images", "a.jpg"), ("annotations", "a.png")):
        save_picture(tmp_path / kind / "validation" / name)
    (tmp_path / "annotations" / "validation" / "a.png").write_bytes(content)
    with refused(r"a\.png: unreadable mask .*; fetch this file again"):
        Ade2016().open(given(tmp_path))


def element(data: bytes, order: str = "<") -> bytes:
    """A MATLAB file with one compressed element, whatever it holds."""
    packed = zlib.compress(data, 9)
    head = b"MATLAB 5.0".ljust(124) + struct.pack(f"{order}HH", 0x0100, 0x4D49)
    return head + struct.pack(f"{order}II", 15, len(packed)) + packed


MATS = {
    "bomb": (lambda: element(bytes(MAT_BYTES + 1)), "bytes when it is unpacked"),
    "bomb, big-endian": (lambda: element(bytes(MAT_BYTES + 1), ">"), "bytes when it is unpacked"),
    "torn": (lambda: element(bytes(1000))[:-4], "no label map S"),
    "text": (lambda: b"MATLAB".ljust(2000), "no label map S"),
    "empty": (lambda: b"", "0 bytes"),
}


@pytest.mark.parametrize("case", MATS)
def test_matlab_files(tmp_path: Path, case: str) -> None:
    made, said = MATS[case]
    (tmp_path / "a.mat").write_bytes(made())
    with refused(rf"a\.mat: .*{said}.*; fetch"):
        MappedMat(tmp_path / "a.mat", "S", np.zeros(9, np.int16)).read()


def test_a_mask_that_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.mat")
    with refused(r"a\.mat: unreadable mask \(not a file\)"):
        MappedMat(tmp_path / "a.mat", "S", np.zeros(9, np.int16)).read()
