"""Pictures of single images: stored while training runs, drawn as masks over the image for the report."""

import base64
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from dhr.core.errors import InputError
from dhr.core.labels import IGNORE
from dhr.disk.atomic import write_atomically

MAPS = ("wss_mask", "seeds", "pseudo_mask", "prediction", "truth")
PICTURES = ("image", "features", "clusters")  # in colours of their own, not of the classes
OPACITY = 0.6  # of a class colour over the image
GREY = 0.85  # how far the image under a mask is toned down, so that its colours are not taken for classes
BORDER = 2  # pixels on each side of a border between classes
HATCH = 4  # pixels per stripe over IGNORE
SIDE = 384  # pixels of the longer side of a drawn picture: sharp at the width of a column on a fine display


def save_gallery(path: Path, *, image: np.ndarray, tags: Sequence[str] = (), **maps: np.ndarray) -> None:
    """Stores one image with its class-index maps as a compressed .npz, atomically.

    Args:
        path: file to write, named <id>.npz.
        image: (H,W,3) uint8 RGB.
        tags: names of the classes that the image is tagged with.
        maps: (H,W) uint8 class indices with IGNORE, under the names in MAPS; or (H,W,3) uint8 RGB, under those in
            PICTURES.

    Raises:
        InputError: an unknown name, another type or another size.
    """
    arrays = {"image": image, **maps}
    _check(path, arrays)
    if tags:
        arrays["tags"] = np.array(list(tags), dtype=np.str_)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_atomically(path, buffer.getvalue())


def load_gallery(path: Path) -> dict[str, np.ndarray]:
    """The arrays that save_gallery stored: `image`, the maps, and `tags` (T) of text if there were any.

    Raises:
        InputError: missing, unreadable, or not of the kind that save_gallery writes.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {str(name): stored[name] for name in stored.files}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run python -m dhr.train again to make it") from None
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: unreadable pictures ({error}); delete the file") from None
    _check(path, {name: array for name, array in arrays.items() if name != "tags"})
    return arrays


def _check(path: Path, arrays: dict[str, np.ndarray]) -> None:
    image = arrays.get("image")
    if image is None or image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise InputError(f"{path}: image: has to be uint8 of shape (H,W,3)")
    for name, array in arrays.items():
        if name not in (*MAPS, *PICTURES):
            raise InputError(f"{path}: {name}: unknown map; allowed are {', '.join((*MAPS, *PICTURES[1:]))}")
        due = image.shape if name in PICTURES else image.shape[:2]
        if array.dtype != np.uint8 or array.shape != due:
            raise InputError(f"{path}: {name}: {array.dtype} {array.shape}: has to be uint8 {due}")


def overlay(image: np.ndarray, mask: np.ndarray, palette: Sequence[Sequence[int]]) -> np.ndarray:
    """Draws a mask over its image: class colours let the picture through, borders between classes are solid.

    The image is toned down towards grey. A class whose colour is black (the background) stays see-through,
    IGNORE is hatched in grey, and indices beyond the palette are white.

    Args:
        image: (H,W,3) uint8 RGB.
        mask: (H,W) uint8 class indices, IGNORE allowed.
        palette: one RGB colour in 0..255 per class.

    Returns:
        (H,W,3) uint8 RGB.

    >>> image = np.full((1, 3, 3), 100, np.uint8)
    >>> overlay(image, np.uint8([[0, 0, 9]]), palette=[(0, 0, 0)])[0].tolist()  # background; beyond the palette
    [[100, 100, 100], [100, 100, 100], [255, 255, 255]]
    """
    colours = np.full((256, 3), 255, np.uint8)
    colours[: len(palette)] = np.asarray(palette, np.uint8)
    grey = image.astype(np.float32).mean(axis=2, keepdims=True)
    canvas = (1 - GREY) * image + GREY * grey
    drawn = colours[mask].any(axis=2) & (mask != IGNORE)
    canvas[drawn] = (1 - OPACITY) * canvas[drawn] + OPACITY * colours[mask][drawn]
    border = drawn & borders(mask)
    canvas[border] = 0.35 * 255 + 0.65 * colours[mask][border]  # lighter than the fill, so that dark classes show too
    stripes = np.add.outer(np.arange(mask.shape[0]), np.arange(mask.shape[1])) // HATCH % 2
    ignored = mask == IGNORE
    canvas[ignored] = np.where(stripes == 1, 200.0, 150.0)[ignored][:, None] * 0.8 + canvas[ignored] * 0.2
    return canvas.round().astype(np.uint8)


def borders(mask: np.ndarray) -> np.ndarray:
    """(H,W) bool: pixels that have another class at most BORDER pixels to the left, right, above or below.

    >>> borders(np.uint8([[0, 0, 0, 1, 1, 1]])).astype(int).tolist()
    [[0, 1, 1, 1, 1, 0]]
    """
    found = np.zeros(mask.shape, bool)
    for reach in range(1, BORDER + 1):
        rows, columns = mask[reach:] != mask[:-reach], mask[:, reach:] != mask[:, :-reach]
        found[reach:] |= rows
        found[:-reach] |= rows
        found[:, reach:] |= columns
        found[:, :-reach] |= columns
    return found


def scaled(array: np.ndarray, side: int = SIDE) -> np.ndarray:
    """An image or mask at the size it is drawn: small ones by whole factors and nearest, large ones shrunk to `side`.

    >>> scaled(np.zeros((75, 100), np.uint8)).shape, scaled(np.zeros((500, 1000, 3), np.uint8)).shape
    ((300, 400), (192, 384, 3))
    """
    height, width = array.shape[:2]
    factor = side / max(height, width)
    if factor >= 2:
        return array.repeat(round(factor), axis=0).repeat(round(factor), axis=1)
    return array if factor >= 1 else _shrunk(array, factor)


def _shrunk(array: np.ndarray, factor: float) -> np.ndarray:
    height, width = array.shape[:2]
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    smooth = Image.Resampling.BOX if array.ndim == 3 else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(array).resize(size, smooth), np.uint8)


def data_uri(picture: np.ndarray, *, exact: bool) -> str:
    """A (H,W,3) uint8 picture as a data: address; PNG if `exact`, else JPEG.

    >>> data_uri(np.zeros((2, 2, 3), np.uint8), exact=True)[:26]
    'data:image/png;base64,iVBO'
    """
    data = encoded(picture, "PNG") if exact else encoded(picture, "JPEG", quality=88, subsampling=0)
    return f"data:image/{'png' if exact else 'jpeg'};base64,{base64.b64encode(data).decode()}"


def encoded(picture: np.ndarray, form: str, **options: object) -> bytes:
    """A (H,W,3) uint8 picture as the bytes of a file of a form that Pillow writes, with the options of that form."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, form, **options)
    return buffer.getvalue()


def encoded_overlay(
    image: np.ndarray, mask: np.ndarray, palette: Sequence[Sequence[int]], *, longest: int, quality: int = 88
) -> bytes:
    """A JPEG of a mask over its image, as `overlay` draws it, shrunk where a side is longer than `longest` pixels."""
    factor = longest / max(mask.shape)
    if factor < 1:
        image, mask = _shrunk(image, factor), _shrunk(mask, factor)
    return encoded(overlay(image, mask, palette), "JPEG", quality=quality)
