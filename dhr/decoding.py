"""Images and masks that came from elsewhere: decoded whole and within limits, or refused with a cure."""

import io
import stat
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import deflate
import numpy as np
from PIL import Image, UnidentifiedImageError

from dhr.errors import InputError

IGNORED_COLOUR = (224, 224, 192)  # of index 255 in the masks that are written: a light grey
PIXELS = 89_478_485  # of an image; beyond it Pillow warns of a decompression bomb, at twice as many it refuses
FILE_BYTES = 1 << 28  # of an image or mask: as many bytes as PIXELS in RGB
XML_BYTES = 1 << 20  # of an annotation; those of VOC have a few thousand
COLOURS = ("RGB", "L", "P", "1", "LA", "PA", "RGBA")  # modes that become RGB without a choice of profile or range
PNG_START = b"\x89PNG\r\n\x1a\n"
AGAIN = "fetch or make this file again"
# What Pillow's readers, and ours, are known to raise on broken files.
BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    EOFError,
    struct.error,
    zlib.error,
    deflate.DeflateError,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)
T = TypeVar("T")


class BadFileError(InputError):
    """One file is wrong. Has a single argument, the message, so that it survives the way between processes.

    Attributes:
        path: the file.
        kind: what is wrong in two words, equal for all files that suffer from the same.
        problem: what is wrong with this one, with the value.
        cure: what to do.
    """

    path = Path()
    kind = problem = cure = ""

    @classmethod
    def of(cls, path: Path, kind: str, *, problem: str, cure: str) -> "BadFileError":
        """The error with its message made of the parts."""
        error = cls(f"{path}: {problem}; {cure}")
        error.path, error.kind, error.problem, error.cure = path, kind, problem, cure
        return error


def read_file(path: Path, what: str, *, absent: str, cure: str, limit: int = FILE_BYTES) -> bytes:
    """The content of a file.

    Args:
        path: where it lies.
        what: "image", "mask" or the like, for messages.
        absent: what is said where the file is missing.
        cure: what helps then.
        limit: largest number of bytes that is read.

    Raises:
        BadFileError: missing, empty, unreadable, larger than `limit`, or something else than a file.
    """
    try:
        status = path.stat()
        problem = _not_readable(status.st_mode, status.st_size, limit)
        if problem is None:
            return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise BadFileError.of(path, f"{what}: missing", problem=absent, cure=cure) from None
    except OSError as error:
        problem = error.strerror or type(error).__name__
    kind = "empty" if problem == "0 bytes" else "unreadable"
    raise BadFileError.of(path, f"{what}: {kind}", problem=f"unreadable {what} ({problem})", cure=AGAIN)


def _not_readable(mode: int, size: int, limit: int) -> str | None:
    """What speaks against reading a file, judged without opening it: a pipe would be waited for."""
    if not stat.S_ISREG(mode):
        return "not a file"
    if size > limit:
        return f"{size:,} bytes; allowed are {limit:,}"
    return None if size else "0 bytes"


def open_image(data: bytes, path: Path) -> Image.Image:
    """A decoded image, as stored: a turn that its EXIF data ask for is not made.

    Raises:
        BadFileError: no JPEG or PNG, truncated, a wrong checksum, more than PIXELS pixels, or colours other than 8-bit
            RGB and what follows from it without a choice: grey, palette, transparency.
    """
    picture = _opened(data, path, "image", ("JPEG", "PNG"))
    depth = _depth(data)
    if depth > 8 or picture.mode not in COLOURS:
        mode = f"{depth} bits per channel" if depth > 8 else f"mode {picture.mode}"
        raise BadFileError.of(
            path, "image: colour mode", problem=f"{mode}: an image is 8-bit RGB or grey", cure="convert it to 8-bit RGB"
        )
    _guarded(picture.load, path, "image")
    return picture


def open_mask(data: bytes, path: Path, what: str = "mask") -> Image.Image:
    """A decoded mask of mode L or P, whose values are the class indices.

    Raises:
        BadFileError: no PNG, truncated, a wrong checksum, more than PIXELS pixels, or other values than 8-bit indices.
    """
    picture = _opened(data, path, what, ("PNG",))
    depth = _depth(data)
    # Grey values of fewer bits would be stretched to 0..255, those of palette masks are not.
    if picture.mode not in ("P", "L") or depth > 8 or (picture.mode == "L" and depth < 8):
        found = f"mode {picture.mode}" if picture.mode not in ("P", "L") else f"{depth} bits"
        raise BadFileError.of(
            path,
            f"{what}: mode",
            problem=f"{found}: a mask is an 8-bit palette or grey PNG of class indices",
            cure="write the class indices themselves, with 8 bits",
        )
    _guarded(picture.load, path, what)
    return picture


def mask_values(data: bytes, path: Path, what: str = "mask") -> np.ndarray:
    """(H,W) uint8 values of a mask, as `open_mask` decodes them, but faster where its rows are not filtered.

    Not every result is contiguous or may be written to.

    Raises:
        BadFileError: as `open_mask`.
    """
    plain = _guarded(lambda: _unfiltered(data), path, what) if data.startswith(PNG_START) else None
    return np.asarray(open_mask(data, path, what), np.uint8) if plain is None else plain


def _unfiltered(data: bytes) -> np.ndarray | None:
    """The values of an 8-bit PNG whose rows are not filtered, as most masks are; None for any other.

    Inflating is all there is to do, to a size that is known; Pillow goes through the file row by row.

    Raises:
        ValueError, DeflateError, struct.error: the file is broken, or holds fewer or more pixels than it says; Pillow
            leaves missing rows 0 without a word.
    """
    pixels = b"".join(_check_sums(data))
    width, height, depth, kind, _, _, interlaced = struct.unpack(">IIBBBBB", data[16:29])
    if depth != 8 or kind not in (0, 3) or interlaced or not 0 < width * height <= PIXELS:
        return None
    due = height * (width + 1)  # each row begins with the byte that says its filter
    rows = np.frombuffer(deflate.zlib_decompress(pixels, due), np.uint8)
    if len(rows) != due:
        raise ValueError(f"{len(rows)} bytes of pixels, {due} are due")
    rows = rows.reshape(height, width + 1)
    return None if rows[:, 0].any() else rows[:, 1:]


def palette_entries(data: bytes) -> bytes | None:
    """The palette of a whole PNG, three bytes a colour; None where its pixels are no indices of one."""
    if not data.startswith(PNG_START) or data[25] != 3:
        return None
    start, kind = len(PNG_START), b""
    while kind != b"IDAT" and start + 8 <= len(data):
        length, kind = int.from_bytes(data[start : start + 4]), data[start + 4 : start + 8]
        if kind == b"PLTE":
            return data[start + 8 : start + 8 + length]
        start += length + 12
    return None


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) that the header of an image states; nothing is decoded.

    Raises:
        BadFileError: there is no such header.
    """
    with _guarded(lambda: Image.open(path, formats=("JPEG", "PNG")), path, "image") as picture:
        return picture.height, picture.width


def _opened(data: bytes, path: Path, what: str, formats: tuple[str, ...]) -> Image.Image:
    """The picture by its header; not decoded yet."""
    if data.startswith(PNG_START):
        _guarded(lambda: _check_sums(data), path, what)
    picture = _guarded(lambda: Image.open(io.BytesIO(data), formats=formats), path, what)
    if picture.width * picture.height > PIXELS:
        raise _too_large(path, what, f"{picture.width} x {picture.height} pixels")
    return picture


def _guarded(work: Callable[[], T], path: Path, what: str) -> T:
    try:
        return work()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_large(path, what, "decompression bomb") from None
    except UnidentifiedImageError:
        problem = "not a PNG" if what.endswith("mask") else "neither JPEG nor PNG"
    except BROKEN as error:
        problem = str(error) or type(error).__name__
    raise BadFileError.of(path, f"{what}: unreadable", problem=f"unreadable {what} ({problem})", cure=AGAIN)


def _too_large(path: Path, what: str, size: str) -> BadFileError:
    problem = f"unreadable {what} ({size}; allowed are {PIXELS:,} pixels)"
    return BadFileError.of(
        path, f"{what}: too large", problem=problem, cure="shrink it, or take its id out of the split"
    )


def _depth(data: bytes) -> int:
    """Bits per channel; Pillow shows 16-bit RGB as if it had 8."""
    return data[24] if data.startswith(PNG_START) and len(data) > 24 else 8


def _check_sums(data: bytes) -> list[memoryview]:
    """Compares the checksum of every chunk of a PNG, which Pillow leaves out for pixels; returns the pixels' chunks.

    Raises:
        ValueError: one differs, or the file ends before its last chunk does.
    """
    view, start, kind, pixels = memoryview(data), len(PNG_START), b"", []
    while kind != b"IEND":
        head = data[start : start + 8]
        end = start + 8 + int.from_bytes(head[:4])
        kind = head[4:]
        if end + 4 > len(data):
            raise ValueError("truncated")
        if deflate.crc32(view[start + 4 : end]) != int.from_bytes(view[end : end + 4]):
            raise ValueError(f"wrong checksum of the chunk at byte {start}")
        if kind == b"IDAT":
            pixels.append(view[start + 8 : end])
        start = end + 4
    return pixels


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
