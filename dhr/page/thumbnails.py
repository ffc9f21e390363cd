"""An image and its label maps, small enough that a page holds thousands of them."""

import base64
import struct
from collections.abc import Sequence
from typing import Any

import deflate
import numpy as np

from dhr.disk.mask import IGNORED_COLOUR
from dhr.disk.png import PNG_START
from dhr.evaluation.gallery import encoded, scaled

SIDES = (480, 416, 352, 304, 272, 240, 216, 192, 176, 160, 144, 128, 112, 96)  # of the longer side: the first that fits
EXACT = 160  # sides up to which the image is a PNG: a JPEG of so few pixels shows its blocks
QUALITY = 74  # of the JPEG
PALETTE = 3  # the kind of PNG whose values are places in its palette


def thumbnails(
    image: np.ndarray, maps: Sequence[np.ndarray], palette: Sequence[Sequence[int]], *, limit: int
) -> dict[str, Any]:
    """An image and its maps at the largest of SIDES at which both together fit, or at the smallest.

    Args:
        image: (H,W,3) uint8.
        maps: (H,W) uint8 label maps.
        palette: one RGB colour per class.
        limit: of the letters of both addresses together.

    Returns:
        `photo` and `maps`, two data: addresses, and `labels`: what the values of the second mean. It is one PNG of
        all maps under each other, each as high as the photograph.
    """
    labels = np.unique(np.concatenate([np.unique(each) for each in maps]))
    largest = min(SIDES[0], max(image.shape[:2]))
    sides, size = [largest, *(side for side in SIDES if side < largest)], limit + 1
    while sides and size > limit:
        side = sides.pop(0)
        photo, stacked = _at(side, image, maps, labels, palette)
        size = len(photo) + len(stacked)
        # Letters grow about as pixels do, so that larger sides would not fit either; each try costs milliseconds.
        while len(sides) > 1 and sides[0] > side * (limit / size) ** 0.5:
            sides.pop(0)
    return {"photo": photo, "maps": stacked, "labels": labels.tolist()}


def _at(
    side: int, image: np.ndarray, maps: Sequence[np.ndarray], labels: np.ndarray, palette: Sequence[Sequence[int]]
) -> tuple[str, str]:
    small = scaled(image, side)
    exact = max(small.shape) <= EXACT and small.shape == image.shape
    photo = encoded(small, "PNG") if exact else encoded(small, "JPEG", quality=QUALITY, optimize=True)
    stacked = np.concatenate([scaled(each, side) for each in maps])
    return address(photo, "png" if exact else "jpeg"), address(stacked_png(stacked, labels, palette), "png")


def stacked_png(stacked: np.ndarray, labels: np.ndarray, palette: Sequence[Sequence[int]]) -> bytes:
    """A palette PNG (H,W) whose values are places in `labels`, with as few bits a pixel as they need.

    Its rows are not filtered: the script of the page reads them as they are, and they are a quarter smaller than those
    that Pillow filters.
    """
    colours = np.full((256, 3), IGNORED_COLOUR, np.uint8)
    colours[: len(palette)] = np.asarray(palette, np.uint8)
    bits = next(bits for bits in (1, 2, 4, 8) if len(labels) <= 1 << bits)
    height, width = stacked.shape
    places = np.zeros(256, np.uint8)
    places[labels] = np.arange(len(labels))
    values = np.pad(places[stacked], ((0, 0), (0, -width % (8 // bits)))).reshape(height, -1, 8 // bits)
    shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
    rows = np.pad(np.bitwise_or.reduce(values << shifts, axis=2), ((0, 0), (1, 0)))  # each begins with its filter, 0
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, bits, PALETTE, 0, 0, 0),
        b"PLTE": colours[labels].tobytes(),
        b"IDAT": deflate.zlib_compress(rows.tobytes(), 9),
        b"IEND": b"",
    }
    return PNG_START + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", deflate.crc32(kind + data))
        for kind, data in chunks.items()
    )


def address(data: bytes, kind: str) -> str:
    """A picture as a data: address."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
