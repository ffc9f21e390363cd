"""Images of any format that Pillow reads, as 8-bit RGB: for predictions, where no mask has to fit them.

Beside the strict reader of `dhr.disk.image`, with the same limits. What differs between formats is decided here:

- the turn that EXIF asks for is made, so that an image stands as viewers show it; an unreadable turn is not made
- transparent pixels are laid on white
- CMYK and other colours are converted by Pillow's plain formula; embedded colour profiles are not applied
- whole numbers of 16 bits keep their range, 0 to 65535 becomes 0 to 255; other numbers (of 32 bits, real numbers) are
  stretched from their smallest to their largest value; NaN becomes 0
- of several frames, pages or layers the first one is taken, or what the file itself shows first
"""

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from dhr.disk.image import guarded, opened
from dhr.disk.reading import BROKEN, BadFileError, content_of

# EPS is a program that another one, Ghostscript, would run; Pillow itself decodes none of the others.
REFUSED = frozenset({"EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG"})
DEEP = 65535  # the largest number of 16 bits
WHITE = (255, 255, 255, 255)


@cache
def formats() -> tuple[str, ...]:
    """Names of the formats that are read."""
    Image.init()
    return tuple(name for name in Image.ID if name not in REFUSED)


@cache
def endings() -> tuple[str, ...]:
    """Endings of the files of these formats, in small letters."""
    known = {*formats(), "MPO"}  # which is read as a JPEG
    return tuple(sorted(ending for ending, name in Image.registered_extensions().items() if name in known))


def read_any_image(path: Path) -> np.ndarray:
    """Reads an image of any format as (H,W,3) uint8 RGB.

    Raises:
        BadFileError: missing, unreadable, truncated, too large, of no format that is read, or of colours that Pillow
            does not convert.
    """
    data = content_of(path, "image")
    picture = opened(data, path, "image", formats(), unknown="of no format that is read here")
    guarded(picture.load, path, "image")
    picture = _upright(picture)
    try:
        return as_rgb(picture)
    except BROKEN as error:
        problem = f"mode {picture.mode}: no conversion to RGB ({error})"
        raise BadFileError.of(path, "image: colour mode", problem=problem, cure="convert it to 8-bit RGB") from None


def _upright(picture: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(picture)
    except BROKEN:
        return picture


def as_rgb(picture: Image.Image) -> np.ndarray:
    """The pixels of a picture as they lie, (H,W,3) uint8 RGB: a turn that its EXIF data ask for is not made.

    Raises:
        OSError, ValueError: it is broken, or of colours that Pillow does not convert.
    """
    if picture.mode == "F" or picture.mode.startswith("I"):
        return np.repeat(_in_bytes(np.asarray(picture))[..., None], 3, axis=2)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, WHITE), picture)
    return np.array(picture.convert("RGB"), np.uint8)


def _in_bytes(values: np.ndarray) -> np.ndarray:
    """Numbers of more than 8 bits as uint8.

    >>> _in_bytes(np.array([0, 257, 65535])).tolist(), _in_bytes(np.array([-2.0, 0.0, np.nan, 2.0])).tolist()
    ([0, 1, 255], [0, 128, 0, 255])
    >>> _in_bytes(np.array([7.5, 7.5])).tolist()
    [0, 0]
    """
    numbers, finite = values.astype(np.float64), np.isfinite(values)
    low, high = (numbers[finite].min(), numbers[finite].max()) if finite.any() else (0.0, 0.0)
    if values.dtype.kind in "iu" and low >= 0 and high <= DEEP:
        low, high = 0.0, float(DEEP)
    scaled = (numbers - low) / max(high - low, np.finfo(np.float32).tiny) * 255
    return np.where(finite, scaled, 0).round().clip(0, 255).astype(np.uint8)
