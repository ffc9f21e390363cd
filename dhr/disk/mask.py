"""Masks: PNGs whose pixels are class indices."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from dhr.disk.atomic import write_atomically
from dhr.disk.image import guarded, opened
from dhr.disk.png import PNG_START, depth_of, unfiltered
from dhr.disk.reading import BadFileError, content_of

IGNORED_COLOUR = (224, 224, 192)  # of index 255 in the masks that are written: a light grey


def open_mask(data: bytes, path: Path, what: str = "mask") -> Image.Image:
    """A decoded mask of mode L or P, whose values are the class indices.

    Raises:
        BadFileError: no PNG, truncated, a wrong checksum, more than PIXELS pixels, or other values than 8-bit indices.
    """
    picture = opened(data, path, what, ("PNG",))
    depth = depth_of(data)
    # Grey values of fewer bits would be stretched to 0..255, those of palette masks are not.
    if picture.mode not in ("P", "L") or depth > 8 or (picture.mode == "L" and depth < 8):
        mode = f"mode {picture.mode}" if picture.mode not in ("P", "L") else f"{depth} bits"
        raise BadFileError.of(
            path,
            f"{what}: mode",
            problem=f"{mode}: a mask is an 8-bit palette or grey PNG of class indices",
            cure="write the class indices themselves, with 8 bits",
        )
    guarded(picture.load, path, what)
    return picture


def mask_values(data: bytes, path: Path, what: str = "mask") -> np.ndarray:
    """(H,W) uint8 values of a mask, as `open_mask` decodes them, but faster where its rows are not filtered.

    The result may be read-only and need not be contiguous.

    Raises:
        BadFileError: as `open_mask`.
    """
    plain = guarded(lambda: unfiltered(data), path, what) if data.startswith(PNG_START) else None
    return np.asarray(open_mask(data, path, what), np.uint8) if plain is None else plain


def encode_mask(mask: np.ndarray, palette: Sequence[Sequence[int]]) -> bytes:
    """Encodes a (H,W) uint8 class-index mask as a palette PNG; index 255 is shown in a light grey."""
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(palette)] = np.asarray(palette, np.uint8)
    colours[255] = IGNORED_COLOUR
    picture = Image.fromarray(np.ascontiguousarray(mask, dtype=np.uint8))
    picture.putpalette(colours.tobytes())
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def write_mask(path: Path, mask: np.ndarray, palette: Sequence[Sequence[int]]) -> None:
    """Writes a (H,W) uint8 class-index mask as a palette PNG, atomically."""
    write_atomically(path, encode_mask(mask, palette))


def read_mask(path: Path) -> np.ndarray:
    """Reads a palette or grey PNG as (H,W) uint8 class indices.

    Raises:
        BadFileError: missing, unreadable, too large, or a colour or 16-bit picture instead of an index mask.
    """
    return mask_values(mask_content(path), path)


def mask_content(path: Path) -> bytes:
    """The bytes of a mask's file; nothing is decoded.

    Raises:
        BadFileError: missing, unreadable or too large.
    """
    return content_of(path, "mask")
