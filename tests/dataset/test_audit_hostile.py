"""Files that were made to do harm are refused fast, by whatever reads them, and nothing outside the data is opened."""

import json
import os
import pickle
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from audited import TABLE, findings, grey, image, make, mask, png, sixteen_bits, tags
from PIL import Image

from dhr.config.compose import compose
from dhr.core.errors import InputError
from dhr.disk.annotation import XML_BYTES, read_tags
from dhr.disk.image import read_image
from dhr.disk.manifest import NAME
from dhr.disk.mask import read_mask
from dhr.disk.reading import PIXELS, BadFileError

NAMES = TABLE.names[1:]
LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
READERS: dict[str, Callable[[Path], object]] = {
    "image": read_image,
    "mask": read_mask,
    "tags": lambda path: read_tags(path, NAMES),
}


@contextmanager
def refused(path: Path, said: str) -> Iterator[None]:
    """An error that names file and cure, within a second of CPU time, which a busy machine does not lengthen."""
    started = time.process_time()
    with pytest.raises(InputError) as caught:
        yield
    assert time.process_time() - started < 1
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and said in message and "; " in message
    assert len(message) < 2000


def annotation(inside: str) -> str:
    return f"<annotation>{inside}</annotation>"


HOSTILE_XML = {
    "billion laughs": (f'<!DOCTYPE a [<!ENTITY l0 "ha">{LAUGHS}]>{annotation("&l9;")}', "unreadable XML"),
    "external entity": (f'<!DOCTYPE a [<!ENTITY x SYSTEM "file://SECRET">]>{annotation("&x;")}', "unreadable XML"),
    "external DTD": ('<!DOCTYPE a SYSTEM "file://SECRET"><annotation>&x;</annotation>', "unreadable XML"),
    "parameter entity": ('<!DOCTYPE a [<!ENTITY % x SYSTEM "file://SECRET"> %x;]><annotation/>', "unreadable XML"),
    "nested": ("<a>" * 100_000 + "</a>" * 100_000, "nested deeper than 32"),
    "nested and open": ("<object>" * 100_000, "nested deeper than 32"),
    "huge": (annotation("<object><name>ember_disc</name></object>" * 200_000), f"allowed are {XML_BYTES:,}"),
    "path as a class": (annotation("<object><name>../../etc/passwd</name></object>"), "is not a class; allowed are"),
    "long name": (annotation(f"<object><name>{'x' * 900_000}</name></object>"), "is not a class; allowed are"),
    "encoding": ('<?xml version="1.0" encoding="no-such"?><annotation/>', "unreadable XML"),
}


@pytest.mark.parametrize("case", HOSTILE_XML)
def test_hostile_annotations(tmp_path: Path, case: str) -> None:
    text, said = HOSTILE_XML[case]
    secret, path = tmp_path / "secret", tmp_path / "a.xml"
    secret.write_text("ember_disc is the secret")
    path.write_text(text.replace("SECRET", str(secret)))
    with refused(path, said):
        read_tags(path, NAMES)


def test_only_names_of_objects_are_tags(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    part = "<part><name>head</name></part>"
    path.write_text(annotation(
        f"<filename>../../x</filename><name>unicorn</name><object>{part}<name> ember_<!-- -->cross </name>"
        "<name>unicorn</name><deep><object><name>unicorn</name></object></deep></object>"
        "<object><name>ember_disc<b>unicorn</b>unicorn</name></object><object><name>ember_disc</name></object>"
    ))  # fmt: skip
    assert read_tags(path, NAMES) == ["ember_disc", "ember_cross"]
    path.write_text(annotation("<object><part><name>head</name></part></object>"))
    with pytest.raises(InputError, match="object name '' is not a class"):
        read_tags(path, NAMES)


@pytest.mark.parametrize("side", [20_000, 10_000])
@pytest.mark.parametrize("what", ["image", "mask"])
def test_pictures_of_many_pixels_are_not_decoded(
    tmp_path: Path, what: str, side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    rows = bytes((side // 8 + 1) * side)  # one bit per pixel: small as a file, 400 MB when decoded
    path.write_bytes(png(side, side, depth=1, colour=3 if what == "mask" else 0, rows=rows))
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with refused(path, f"allowed are {PIXELS:,} pixels"):
        READERS[what](path)


@pytest.mark.parametrize("what", READERS)
def test_what_is_no_file_is_not_waited_for(tmp_path: Path, what: str) -> None:
    pipe, folder, absent = tmp_path / "pipe", tmp_path / "folder", tmp_path / "file" / "a"
    os.mkfifo(pipe)
    folder.mkdir()
    (tmp_path / "file").touch()
    for path, said in ((pipe, "not a file"), (folder, "not a file"), (absent, "missing")):
        with refused(path, said):
            READERS[what](path)


def test_other_formats_are_not_tried(tmp_path: Path) -> None:
    """Some of Pillow's readers start programs."""
    path = tmp_path / "a.jpg"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    with refused(path, "neither JPEG nor PNG"):
        read_image(path)
    Image.new("L", (9, 9)).save(path.with_suffix(".gif"))
    with refused(path.with_suffix(".gif"), "not a PNG"):
        read_mask(path.with_suffix(".gif"))


@pytest.mark.parametrize("data", [sixteen_bits(), grey(16)])
def test_sixteen_bits_are_refused_by_every_stage(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(data)
    with refused(path, "16 bits per channel: an image is 8-bit RGB or grey; convert it"):
        read_image(path)
    with refused(path, "a mask is an 8-bit palette or grey PNG"):
        read_mask(path)


def test_an_image_is_read_as_it_is_stored(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (9, 5)).save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").shape == (5, 9, 3)


@pytest.mark.parametrize("what", READERS)
def test_damaged_bytes_are_refused_or_read(tmp_path: Path, what: str) -> None:
    there, chance = make(tmp_path), random.Random(3)
    original = {"image": image(there), "mask": mask(there), "tags": tags(there)}[what]
    data, path, refusals = original.read_bytes(), tmp_path / original.name, 0
    for _ in range(300):
        damaged = bytearray(data)
        for _ in range(chance.randrange(1, 6)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        path.write_bytes(damaged[: chance.choice([len(damaged), chance.randrange(len(damaged))])])
        try:
            READERS[what](path)
        except BadFileError as error:
            assert str(error).startswith(f"{path}: ")
            refusals += 1
    assert refusals > 100


def test_errors_survive_the_way_between_processes() -> None:
    error = BadFileError.of(Path("a.jpg"), "image: empty", problem="0 bytes", cure="fetch it")
    there = pickle.loads(pickle.dumps(error))
    assert (str(there), there.kind, there.path, there.cure) == (str(error), error.kind, error.path, error.cure)


@pytest.mark.parametrize("image_id", ["../../../secret", "/etc/passwd", "..", "a\nb", "x" * 100_000])
def test_ids_of_a_manifest_never_become_paths(tmp_path: Path, image_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    there = make(tmp_path)
    (tmp_path / "secret.jpg").write_bytes(image(there).read_bytes())
    header = {"version": 1, "dataset": "toy", "split": "train", "images": 1, "tags_from": {}, "recipe": ""}
    entry = {
        "id": image_id,
        "size": [1, 1],
        "tags": [],
        "labels": None,
        "image": [1, "x"],
        "mask": None,
        "tags_from": "xml",
    }
    lines = [json.dumps({**header, "names": TABLE.names}), json.dumps(entry)]
    (there.layout.split("train") / NAME).write_text("\n".join(lines))
    compose("audit", there.words("audit"))  # Hydra reads its plugins once
    opened: list[Path] = []
    read_bytes = Path.read_bytes

    def noted(path: Path) -> bytes:
        opened.append(path)
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", noted)
    found = [each for each in findings(there, "split=train", broken=True) if each["kind"] == "manifest: unreadable"]
    assert [each["file"] for each in found] == [str(there.layout.split("train") / NAME)]
    assert all(len(each["problem"]) < 200 for each in found)
    allowed = (there.layout.split("train"), there.root / "outputs")
    assert opened and all(any(path.resolve().is_relative_to(folder) for folder in allowed) for path in opened)
