"""Masks of original downloads whose labels are looked up in a table."""

import io
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dhr.core.errors import InputError
from dhr.dataset.classes import TABLES
from dhr.disk.mask import read_mask
from dhr.disk.reading import read_file

MATS = (".mat",)
MAT_HEAD = 128  # bytes of a version 5 file before its elements
COMPRESSED = 15  # kind of an element
INFLATED = 1 << 20  # bytes at a time
MAT_BYTES = 1 << 26  # of a file when it is unpacked; a map of 640 x 640 doubles has 3 MB
UNKNOWN = -1  # in a lookup table: a label that the download cannot hold
NO_CLASS = 254  # no data set has so many classes


@dataclass(frozen=True)
class IndexPng:
    """A PNG that holds our class indices already: it is linked, not written anew."""

    file: Path

    def read(self) -> np.ndarray:
        """(H,W) uint8."""
        return read_mask(self.file)


@dataclass(frozen=True, eq=False)
class MappedPng:
    """A PNG of other labels.

    Attributes:
        file: palette or grey PNG.
        lookup: (256) int16, label -> class index, IGNORE or UNKNOWN.
    """

    file: Path
    lookup: np.ndarray

    def read(self) -> np.ndarray:
        """(H,W) uint8.

        Raises:
            InputError: unreadable, or a label without a class.
        """
        return looked_up(read_mask(self.file), self.lookup, self.file)


def looked_up(labels: np.ndarray, lookup: np.ndarray, file: Path) -> np.ndarray:
    """Class indices (H,W) uint8 of integer labels (H,W).

    Raises:
        InputError: a label is outside the table or UNKNOWN.
    """
    table = np.where(lookup == UNKNOWN, NO_CLASS, lookup).astype(np.uint8)
    if labels.dtype == np.uint8:  # several times faster than an array that is indexed with an array
        known = table.tobytes().ljust(256, bytes([NO_CLASS]))
        mask = np.frombuffer(bytearray(labels.tobytes().translate(known)), np.uint8).reshape(labels.shape)
    else:
        outside = (labels < 0) | (labels >= len(table))
        mask = np.where(outside, np.uint8(NO_CLASS), table[np.where(outside, 0, labels)])
    wrong = labels[mask == NO_CLASS]
    if len(wrong):
        raise InputError(f"{file}: label {int(wrong[0])}: this data set has no such label; fetch this file again")
    return mask


def histogram(mask: np.ndarray) -> dict[int, int]:
    """Values of a uint8 array -> number of pixels; counts runs of equal values, since a mask has few of them."""
    flat = mask.ravel()
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1]) if flat.size else np.zeros(0, np.intp)
    pixels = np.bincount(flat[starts], weights=np.diff(starts, append=flat.size))  # whole numbers: exact in float64
    return {int(value): int(pixels[value]) for value in np.flatnonzero(pixels)}


@cache
def source_ids(table: str) -> tuple[int, ...]:
    """Numbers of the classes in the original download, background excepted, in the order of the class table."""
    return tuple(json.loads((TABLES / f"{table}.json").read_text(encoding="utf-8"))["source_ids"])


def lookup_table(classes: Mapping[int, int], size: int) -> np.ndarray:
    """(size) int16: label -> class index as in `classes`, UNKNOWN for all others."""
    lookup = np.full(size, UNKNOWN, np.int16)
    lookup[list(classes)] = list(classes.values())
    return lookup


@dataclass(frozen=True, eq=False)
class MappedMat:
    """A MATLAB file (version 5) that holds labels.

    Attributes:
        file: MAT file.
        variable: name of the label map; `GTcls.Segmentation` is a field of the structure `GTcls`.
        lookup: (L) int16, label -> class index, IGNORE or UNKNOWN.
    """

    file: Path
    variable: str
    lookup: np.ndarray

    def read(self) -> np.ndarray:
        """(H,W) uint8.

        Raises:
            InputError: unreadable, without a map of whole numbers of that name, or a label without a class.
        """
        cure = "restore the file or take its id out of the split"
        data = read_file(self.file, "mask", absent="this mask is missing", cure=cure)
        from scipy.io import loadmat  # takes longer to import than all the rest, and most downloads have no such file

        try:
            _refuse_bomb(data)
            value: Any = loadmat(io.BytesIO(data), appendmat=False, variable_names=[self.variable.partition(".")[0]])
            for name in self.variable.split("."):
                value = value[name]
                value = value.item() if value.dtype == object else value
            labels = value.astype(np.int64)
            if labels.ndim != 2 or not labels.size or (labels != value).any():
                raise ValueError("not a map of whole numbers")
        except Exception as error:  # SciPy's parser raises nearly anything on a broken file
            problem = f"no label map {self.variable} to be read ({type(error).__name__}: {error})"
            raise InputError(f"{self.file}: {problem}; fetch this file again") from error
        return looked_up(labels, self.lookup, self.file)


def _refuse_bomb(data: bytes) -> None:
    """Refuses a MATLAB file whose compressed elements grow beyond MAT_BYTES together; they are not kept.

    Raises:
        ValueError, zlib.error: they do, or are broken.
    """
    order: Literal["little", "big"] = "big" if data[126:128] == b"MI" else "little"
    at, left = MAT_HEAD, MAT_BYTES
    while at + 8 <= len(data):
        kind, length = (int.from_bytes(data[start : start + 4], order) for start in (at, at + 4))
        if kind == COMPRESSED:
            inflating, rest = zlib.decompressobj(), data[at + 8 : at + 8 + length]
            while rest and left > 0:
                left -= len(inflating.decompress(rest, INFLATED))
                rest = inflating.unconsumed_tail
        if left <= 0:
            raise ValueError(f"more than {MAT_BYTES:,} bytes when it is unpacked")
        at += 8 + length
