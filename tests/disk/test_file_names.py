"""Names that cannot be ids: every command says so and how to mend it, whichever folder they lie in."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from audited import findings, image, make
from downloads import make_ade, prepare
from tiny import Tiny

from dhr.core.errors import InputError
from dhr.dataset.original.interface import ids_array
from dhr.disk.file_names import SAFE_ID, printable
from dhr.disk.layout import DataLayout

STRANGE = {  # as stored -> as shown
    b"caf\xe9": r"caf\xe9",
    b"\xff\xfe": r"\xff\xfe",
    b"a\nb": r"a\nb",
    b"a\rb": r"a\rb",
    b"\x1b[2Ja": r"\x1b[2Ja",
    b"a\x7f": r"a\x7f",
    "a\u2028b".encode(): r"a\u2028b",
    "a\x85b".encode(): r"a\x85b",
}
UNUSUAL = ("a b", "Straße", "写真", "a　b", "a[1]", "x" * 200)  # no reader hands them out, but nothing breaks


def add(folder: Path, name: bytes) -> None:
    """Copies the first file of a folder to a name of bytes."""
    first = min(path for path in folder.iterdir() if path.is_file())
    shutil.copy(first, os.path.join(os.fsencode(folder), name + os.fsencode(first.suffix)))


@pytest.mark.parametrize("name", STRANGE)
def test_a_name_is_shown_as_one_line_of_text(name: bytes) -> None:
    assert printable(os.fsdecode(name)) == STRANGE[name]
    assert printable("\ud800") == r"\ud800"


@pytest.mark.parametrize("name", UNUSUAL)
def test_unusual_names_stay_as_they_are(tmp_path: Path, name: str) -> None:
    layout = DataLayout(tmp_path, "set")
    layout.image("train", "a").parent.mkdir(parents=True)
    layout.image("train", name).write_bytes(b"x")
    assert layout.ids("train") == [name] and printable(name) == name


@pytest.mark.parametrize("name", STRANGE)
def test_a_split_with_a_name_that_is_no_id(tmp_path: Path, name: bytes) -> None:
    there = make(tmp_path)
    add(image(there).parent, name)
    with pytest.raises(InputError) as caught:
        there.layout.ids("train")
    message = str(caught.value)
    assert f"{STRANGE[name]}.jpg: a name that" in message and "; rename the image, its mask and its XML" in message
    assert message.isprintable()


@pytest.mark.parametrize("other", [".png", ".jpeg"])
def test_two_images_of_one_id(tmp_path: Path, other: str) -> None:
    there = make(tmp_path)
    shutil.copy(image(there), image(there).with_suffix(other))
    with pytest.raises(InputError, match=r"train_00001\.\w+: train_00001\.\w+ has the same id; delete one of the two"):
        there.layout.ids("train")


@pytest.mark.parametrize("name", STRANGE)
def test_the_audit_finds_it_in_every_folder(tmp_path: Path, name: bytes) -> None:
    there = make(tmp_path)
    for kind in ("image", "mask", "xml"):
        add(there.layout.split("train") / kind, name)
    found = {each["kind"]: each for each in findings(there, "split=train", broken=True)}
    assert {"image: name", "mask: extra", "tags: extra"} <= set(found)
    assert found["image: name"]["file"].endswith(f"{STRANGE[name]}.jpg") and "rename" in found["image: name"]["cure"]
    assert found["mask: extra"]["file"].endswith(f"{STRANGE[name]}.png")


LISTING: dict[str, Callable[[Tiny], None]] = {
    "train": lambda there: there.call("train", "rebalancing=none", "name=a"),
    "train_wss": lambda there: there.call("train_wss"),
    "extract_uss": lambda there: there.call("extract_uss"),
    "evaluate": lambda there: there.call("evaluate", f"masks={there.wss / 'train'}", "split=train", "dataset=toy"),
    "prepare": lambda there: there.call("prepare", f"dataset.generate.train={TRAIN + 1}"),
}
TRAIN = 16


@pytest.mark.parametrize("command", LISTING)
def test_every_command_that_lists_a_split_says_so(tiny: Tiny, tmp_path: Path, command: str) -> None:
    there = tiny.copy(tmp_path)
    add(there.layout.split("train") / "image", b"caf\xe9")
    with pytest.raises(InputError, match=r"caf\\xe9"):
        LISTING[command](there)


@pytest.mark.parametrize("place", ["images/training", "annotations/training"])
@pytest.mark.parametrize("name", STRANGE)
def test_prepare_says_it_of_a_download(tmp_path: Path, name: bytes, place: str) -> None:
    source = make_ade(tmp_path)
    add(source / place, name)
    if place.startswith("images"):
        with pytest.raises(InputError, match=r"images/training: '.*': not an id; rename its files"):
            prepare(tmp_path / "data", source)
    else:
        prepare(tmp_path / "data", source)


@pytest.mark.parametrize("name", STRANGE)
def test_prepare_says_it_of_the_folder_it_writes_to(tmp_path: Path, name: bytes) -> None:
    source, layout = make_ade(tmp_path), DataLayout(tmp_path / "data", "ADE2016")
    prepare(layout.root, source)
    add(layout.split("train") / "image", name)
    with pytest.raises(InputError) as caught:
        prepare(layout.root, source)
    assert f"{STRANGE[name]}: 1 images here are not in this split" in str(caught.value)


@pytest.mark.parametrize(
    "image_id", ["", ".", "..", "../a", "/a", "a/b", "a\\b", "-a", ".a", "a b", "a\0", "x" * 201, "ä"]
)
def test_what_is_no_id_of_a_download(image_id: str) -> None:
    assert not SAFE_ID.fullmatch(image_id)
    with pytest.raises(InputError, match="not an id; rename"):
        ids_array(iter(["a", image_id]), Path("list.txt"))


@pytest.mark.parametrize("image_id", ["a", "2007_000001", "COCO_val2014_1", "a.b-c", "x" * 200])
def test_what_is_one(image_id: str) -> None:
    assert ids_array(iter([image_id]), Path("list.txt")).tolist() == np.array([image_id.encode()]).tolist()
