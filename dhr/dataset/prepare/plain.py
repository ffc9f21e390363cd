"""Images as our reader wants them: 8-bit RGB or grey in a JPEG or PNG, upright, and of a size that stages can bear."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from dhr.disk.any_image import read_any_image
from dhr.disk.file_names import IMAGES
from dhr.disk.image import open_image
from dhr.disk.reading import BadFileError

ORIENTATION = 0x0112  # of EXIF: 1 stands as it is
QUALITY = 95  # of JPEGs that are written anew, with all their colours: hardly to be told from the original
ENDINGS = {"PNG": ".png"}  # of what is read as it is; all else are JPEGs, by one name or another


@dataclass(frozen=True)
class Plain:
    """One image as it is to lie in our layout.

    Attributes:
        data: content of its file.
        ending: of its file.
        size: (height, width).
        whole: (height, width) before it was made smaller; what its mask has to have.
    """

    data: bytes
    ending: str
    size: tuple[int, int]
    whole: tuple[int, int]


def as_it_is(data: bytes, path: Path) -> Plain:
    """An image that has to be as our reader wants it.

    Raises:
        BadFileError: it is not.
    """
    picture = open_image(data, path)
    size = (picture.height, picture.width)
    return Plain(data, path.suffix.lower(), size, size)


def as_plain(data: bytes, path: Path, longest: int | None) -> Plain:
    """An image of the user's own: the file itself where our reader takes it, else converted as `read_any_image` does.

    A longer side than `longest` is made so long. JPEGs stay JPEGs when they are turned or made smaller; what came
    without loss is written without.

    Raises:
        BadFileError: no image that can be read.
    """
    try:
        picture = open_image(data, path)
    except BadFileError:  # perhaps another format, which the other reader knows, or says why not
        picture = None
    if picture is not None and _is_plain(picture) and (longest is None or max(picture.size) <= longest):
        size = (picture.height, picture.width)
        ending = path.suffix.lower()
        return Plain(data, ending if ending in IMAGES else ENDINGS.get(str(picture.format), ".jpg"), size, size)
    pixels = Image.fromarray(read_any_image(path))
    width, height = pixels.size
    if longest is not None and max(pixels.size) > longest:
        sides = [max(round(side * longest / max(width, height)), 1) for side in (width, height)]
        pixels = pixels.resize((sides[0], sides[1]), Image.Resampling.LANCZOS)
    lossy = picture is not None and picture.format not in ENDINGS
    buffer = io.BytesIO()
    if lossy:
        pixels.save(buffer, "JPEG", quality=QUALITY, subsampling=0)
    else:
        pixels.save(buffer, "PNG", compress_level=1)
    return Plain(buffer.getvalue(), ".jpg" if lossy else ".png", (pixels.height, pixels.width), (height, width))


def _is_plain(picture: Image.Image) -> bool:
    """Whether a picture stands upright and hides nothing."""
    return picture.getexif().get(ORIENTATION, 1) == 1 and not picture.has_transparency_data


def smaller(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H,W) labels of the nearest pixels of a mask; `size` is (height, width)."""
    return np.asarray(Image.fromarray(mask).resize((size[1], size[0]), Image.Resampling.NEAREST), np.uint8)
