"""What Pillow lacks for PNGs: checks of all checksums, the bit depth of the file, fast decoding of unfiltered rows."""

import struct

import deflate
import numpy as np

from dhr.disk.reading import PIXELS

PNG_START = b"\x89PNG\r\n\x1a\n"


def unfiltered(data: bytes) -> np.ndarray | None:
    """The values of an 8-bit PNG whose rows are not filtered, as most masks are; None for any other.

    Inflating is all there is to do, to a size that is known; Pillow goes through the file row by row.

    Raises:
        ValueError, DeflateError, struct.error: the file is broken, or holds fewer or more pixels than it says; Pillow
            leaves missing rows 0 without a word.
    """
    pixels = b"".join(check_sums(data))
    width, height, depth, kind, _, _, interlaced = struct.unpack(">IIBBBBB", data[16:29])
    if depth != 8 or kind not in (0, 3) or interlaced or not 0 < width * height <= PIXELS:
        return None
    length = height * (width + 1)  # each row begins with the byte that says its filter
    rows = np.frombuffer(deflate.zlib_decompress(pixels, length), np.uint8)
    if len(rows) != length:
        raise ValueError(f"{len(rows)} bytes of pixels, {length} are due")
    rows = rows.reshape(height, width + 1)
    return None if rows[:, 0].any() else rows[:, 1:]


def palette_entries(data: bytes) -> bytes | None:
    """The palette of a PNG, three bytes a colour; None unless its pixels are indices into a palette."""
    if not data.startswith(PNG_START) or data[25] != 3:
        return None
    start, kind = len(PNG_START), b""
    while kind != b"IDAT" and start + 8 <= len(data):
        length, kind = int.from_bytes(data[start : start + 4]), data[start + 4 : start + 8]
        if kind == b"PLTE":
            return data[start + 8 : start + 8 + length]
        start += length + 12
    return None


def depth_of(data: bytes) -> int:
    """Bits per channel; Pillow shows 16-bit RGB as if it had 8."""
    return data[24] if data.startswith(PNG_START) and len(data) > 24 else 8


def check_sums(data: bytes) -> list[memoryview]:
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
