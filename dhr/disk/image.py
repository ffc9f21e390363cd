"""Images and masks that came from elsewhere: decoded whole and within limits, or refused with a cure."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from dhr.disk.png import PNG_START, check_sums, depth_of
from dhr.disk.reading import AGAIN, BROKEN, PIXELS, BadFileError, content_of

COLOURS = ("RGB", "L", "P", "1", "LA", "PA", "RGBA")  # modes whose conversion to RGB needs no profile or range
T = TypeVar("T")


def open_image(data: bytes, path: Path) -> Image.Image:
    """A decoded image, as stored: a turn that its EXIF data ask for is not made.

    Raises:
        BadFileError: no JPEG or PNG, truncated, a wrong checksum, more than PIXELS pixels, more than 8 bits per
            channel, or a mode that is not in COLOURS.
    """
    picture = opened(data, path, "image", ("JPEG", "PNG"))
    depth = depth_of(data)
    if depth > 8 or picture.mode not in COLOURS:
        mode = f"{depth} bits per channel" if depth > 8 else f"mode {picture.mode}"
        raise BadFileError.of(
            path, "image: colour mode", problem=f"{mode}: an image is 8-bit RGB or grey", cure="convert it to 8-bit RGB"
        )
    guarded(picture.load, path, "image")
    return picture


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) that the header of an image states; nothing is decoded.

    Raises:
        BadFileError: there is no such header.
    """
    with guarded(lambda: Image.open(path, formats=("JPEG", "PNG")), path, "image") as picture:
        return picture.height, picture.width


def opened(
    data: bytes, path: Path, what: str, formats: tuple[str, ...], *, unknown: str = "neither JPEG nor PNG"
) -> Image.Image:
    """The picture by its header; not decoded yet. `unknown` is the problem of a file of none of the formats."""
    if data.startswith(PNG_START):
        guarded(lambda: check_sums(data), path, what)
    picture = guarded(lambda: Image.open(io.BytesIO(data), formats=formats), path, what, unknown=unknown)
    if picture.width * picture.height > PIXELS:
        raise _too_large(path, what, f"{picture.width} x {picture.height} pixels")
    return picture


def guarded(work: Callable[[], T], path: Path, what: str, *, unknown: str = "neither JPEG nor PNG") -> T:
    """The result of `work`; what Pillow raises on a broken file becomes a BadFileError."""
    try:
        return work()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_large(path, what, "decompression bomb") from None
    except UnidentifiedImageError:
        problem = "not a PNG" if what.endswith("mask") else unknown
    except BROKEN as error:
        problem = str(error) or type(error).__name__
    raise BadFileError.of(path, f"{what}: unreadable", problem=f"unreadable {what} ({problem})", cure=AGAIN)


def _too_large(path: Path, what: str, size: str) -> BadFileError:
    problem = f"unreadable {what} ({size}; allowed are {PIXELS:,} pixels)"
    return BadFileError.of(
        path, f"{what}: too large", problem=problem, cure="shrink it, or take its id out of the split"
    )


def read_image(path: Path) -> np.ndarray:
    """Reads an image file as (H,W,3) uint8 RGB, as stored: its EXIF orientation is not applied.

    Raises:
        BadFileError: missing, unreadable, too large, or of colours that are not 8-bit RGB or grey.
    """
    picture = open_image(content_of(path, "image"), path)
    return np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB"), np.uint8)  # convert would copy
