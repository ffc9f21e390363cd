"""A small data set for the tests of the audit, ways to break it, and what the audit writes about it."""

import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from tiny import Tiny

from dhr.core.errors import InputError
from dhr.dataset.classes import load_classes
from dhr.dataset.toy.toy_set import write_toy
from dhr.disk.atomic import read_json

TABLE = load_classes("toy")
SIDE = 32
ID = "train_00001"  # the image that is damaged
PNG_START = b"\x89PNG\r\n\x1a\n"


def make(root: Path) -> Tiny:
    """Four images to train on, three to validate on, with their masks and tags."""
    write_toy(root / "data", splits={"train": 4, "validation": 3}, image_size=SIDE)
    return Tiny(root)


def findings(there: Tiny, *words: str, broken: bool) -> list[dict[str, Any]]:
    """What the command writes down; it has to end with an error if something is `broken`."""
    if broken:
        with pytest.raises(InputError, match="broken"):
            there.call("audit", *words)
    else:
        there.call("audit", *words)
    found: list[dict[str, Any]] = read_json(there.root / "outputs" / "toy" / "audit" / "audit.json")["findings"]
    return found


def image(there: Tiny) -> Path:
    return there.layout.image("train", ID)


def mask(there: Tiny) -> Path:
    return there.layout.mask("train", ID)


def tags(there: Tiny) -> Path:
    return there.layout.tags("train", ID)


def png(width: int, height: int, *, depth: int, colour: int, rows: bytes) -> bytes:
    """A PNG of any kind, also of those that Pillow does not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return PNG_START + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")


def replace_image(there: Tiny, data: bytes) -> None:
    """The image becomes a PNG."""
    image(there).unlink()
    (there.layout.split("train") / "image" / f"{ID}.png").write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[data.index(b"IDAT") + 40] ^= 16
    path.write_bytes(data)


def sixteen_bits() -> bytes:
    return png(SIDE, SIDE, depth=16, colour=2, rows=(b"\0" + bytes(6 * SIDE)) * SIDE)


def grey(depth: int) -> bytes:
    return png(SIDE, SIDE, depth=depth, colour=0, rows=(b"\0" + bytes(SIDE * depth // 8)) * SIDE)
