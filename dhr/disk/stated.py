"""Values from a line of JSON, checked for type and range: the line may come from anywhere."""

import reprlib
from collections.abc import Iterator
from typing import Any, BinaryIO

from dhr.disk.file_names import SAFE_ID
from dhr.disk.reading import FILE_BYTES, PIXELS

LINE_BYTES = 1 << 16  # of a line; an image with 171 tags and 256 labels needs less than 8,000
LONGEST = 200  # letters of a text
LABELS = 256
SHOWN = 60  # letters of a wrong value in a message
_SHORT = reprlib.Repr()
_SHORT.maxstring = SHOWN


def lines(file: BinaryIO) -> Iterator[bytes]:
    """Lines of a file from here on, none of them longer than LINE_BYTES.

    Raises:
        ValueError: a longer one.
    """
    while line := file.readline(LINE_BYTES):
        if len(line) == LINE_BYTES:
            raise ValueError(f"a line of more than {LINE_BYTES:,} bytes")
        yield line


def whole(value: Any, low: int, high: int) -> int:
    """A whole number from `low` to `high`.

    Raises:
        ValueError: it is something else. The functions down to `mark_of` raise it, too.
    """
    if type(value) is not int or not low <= value <= high:  # not bool, which is an int too
        raise ValueError(f"{shown(value)} is no whole number from {low} to {high}")
    return value


def text(value: Any) -> str:
    """A text of one line, at most LONGEST letters."""
    if not isinstance(value, str) or len(value) > LONGEST or not value.isprintable():
        raise ValueError(f"{shown(value)} is no short text")
    return value


def texts(values: Any) -> tuple[str, ...]:
    """A list of texts."""
    if not isinstance(values, list):
        raise ValueError(f"{shown(values)} is no list of texts")
    return tuple(map(text, values))


def id_of(value: Any) -> str:
    """An id: a file name that leads nowhere else."""
    if not isinstance(value, str) or not SAFE_ID.fullmatch(value):
        raise ValueError(f"{shown(value)} is no id")
    return value


def size_of(value: Any) -> tuple[int, int]:
    """(height, width) in pixels, of an image that may be decoded."""
    height, width = (whole(side, 1, PIXELS) for side in value)
    whole(height * width, 1, PIXELS)
    return height, width


def counts_of(values: Any, pixels: int) -> dict[int, int]:
    """Label -> number of pixels; together all `pixels` of the image."""
    if not all(label.isdecimal() and len(label) <= 3 for label in values):
        raise ValueError(f"{shown(list(values))} are no labels")
    counts = {whole(int(label), 0, LABELS - 1): whole(count, 0, pixels) for label, count in values.items()}
    if sum(counts.values()) != pixels:
        raise ValueError(f"labels of {sum(counts.values())} pixels, the image has {pixels}")
    return counts


def mark_of(values: Any) -> tuple[int, str]:
    """Length and digest of a file."""
    length, digest = values
    return whole(length, 0, FILE_BYTES), text(digest)


def shown(value: Any) -> str:
    """The beginning of a value as one line, for a message; fast however large the value is."""
    return _SHORT.repr(value)[:SHOWN]
