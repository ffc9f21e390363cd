"""Masks that a JSON file states as regions, polygons or run lengths, painted over each other.

Only the places of the regions in the file are kept; whoever needs a mask reads its regions from there.
"""

import json
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_masks

from dhr.core.errors import InputError
from dhr.core.labels import IGNORE
from dhr.dataset.original.masks import UNKNOWN
from dhr.disk.json_stream import CURE, Element
from dhr.disk.stated import shown

NUMBER = 7  # characters of a compressed run length: 35 bits, and no image has as many pixels
OUTLINE = 50_000_000  # steps of polygons that are followed, for images of any size
STATED = np.dtype([(name, np.int64) for name in ("image", "category", "crowd", "start", "end")])  # bytes of the file
PAINTED = np.dtype([("class", np.uint8), ("crowd", np.bool_), ("start", np.int64), ("end", np.int64)])


class RegionList:
    """What is collected while a file is scanned: five numbers per region, no objects."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._numbers = array("q")

    def add(self, element: Element, *, crowd: int = 0) -> None:
        """Appends a region.

        Raises:
            InputError: without image_id or category_id.
        """
        image, category = element.whole("image_id"), element.whole("category_id")
        self._numbers.extend((image, category, crowd, element.start, element.end))

    @property
    def table(self) -> np.ndarray:
        """(M) rows of STATED, in the order of the file."""
        return np.asarray(self._numbers).view(STATED)

    def classes(self, lookup: np.ndarray) -> np.ndarray:
        """(M) int16 class index of each region.

        Raises:
            InputError: a category is outside `lookup`, or UNKNOWN in it.
        """
        categories = self.table["category"]
        known = categories < len(lookup)
        classes = np.where(known, lookup[np.where(known, categories, 0)], UNKNOWN)
        self._refuse(classes == UNKNOWN, "category", "this data set has no such category")
        return classes

    def rows(self, numbers: np.ndarray) -> np.ndarray:
        """(M) row of each region's image in `numbers` (N), which holds the number of each image once.

        Raises:
            InputError: a region of an image that is not there.
        """
        images, order = self.table["image"], np.argsort(numbers)
        rows = order[np.minimum(np.searchsorted(numbers, images, sorter=order), len(order) - 1)]
        self._refuse(numbers[rows] != images, "image", "there is no such image in this file")
        return rows

    def _refuse(self, wrong: np.ndarray, name: str, what: str) -> None:
        """Names the first region that is `wrong` (M)."""
        if wrong.any():
            first = self.table[np.argmax(wrong)]
            raise InputError(f"{self.file}: byte {first['start']}: {name}_id {first[name]}: {what}; {CURE}")

    def painted(
        self, *, rows: np.ndarray, order: np.ndarray, classes: np.ndarray, sizes: np.ndarray, background: int
    ) -> "Regions":
        """The regions grouped by image, in the order in which they are painted.

        Args:
            rows: (M) which image each of them belongs to.
            order: (M) smaller ones are painted first within an image.
            classes: (M) class index or IGNORE of each.
            sizes: (N,2) height and width of each image.
            background: label where nothing is painted.
        """
        painted = np.zeros(len(rows), PAINTED)
        painted["class"] = classes
        for name in ("crowd", "start", "end"):
            painted[name] = self.table[name]
        bounds = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(sizes)))])
        return Regions(self.file, sizes, bounds, painted[np.lexsort((order, rows))], background)


@dataclass(frozen=True, eq=False)
class Regions:
    """Where the regions of all images stand in a file.

    Attributes:
        file: JSON file.
        sizes: (N,2) height and width of each image.
        bounds: (N+1) first region of each image.
        regions: (M) rows of PAINTED, in the order in which they are painted.
        background: label where nothing is painted.
    """

    file: Path
    sizes: np.ndarray
    bounds: np.ndarray
    regions: np.ndarray
    background: int

    def mask(self, row: int) -> "RegionMask":
        """The mask of one image."""
        height, width = self.sizes[row].tolist()
        return RegionMask(self.file, (height, width), self.regions[slice(*self.bounds[row : row + 2])], self.background)


@dataclass(frozen=True, eq=False)
class RegionMask:
    """The `regions` (n) of one image, later ones painted over earlier ones, crowds as IGNORE."""

    file: Path
    size: tuple[int, int]
    regions: np.ndarray
    background: int

    def read(self) -> np.ndarray:
        """(H,W) uint8.

        Raises:
            InputError: the file is gone or was changed, or a region is not as it should be.
        """
        mask = np.full(self.size, self.background, np.uint8)
        try:
            with self.file.open("rb") as stream:
                for label, crowd, start, end in self.regions.tolist():
                    stream.seek(start)
                    place = f"{self.file}: byte {start}"
                    inside = region(segmentation(stream.read(end - start), place), self.size, place)
                    mask[inside] = IGNORE if crowd else label
        except OSError as error:
            raise InputError(
                f"{self.file}: not readable ({error.strerror}); restore it and run prepare again"
            ) from None
        return mask


def segmentation(data: bytes, place: str) -> Any:
    """The member `segmentation` of a JSON object.

    Raises:
        InputError: `data` is no such object.
    """
    try:
        return json.loads(data)["segmentation"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InputError(f"{place}: no segmentation; {CURE}, and do not change it while prepare runs") from None


def region(stated: Any, size: tuple[int, int], place: str) -> np.ndarray:
    """(H,W) bool of a COCO segmentation: a list of polygons, or run lengths, plain or compressed.

    Raises:
        InputError: of another form, or of another size than the image; the message starts with `place`.
    """
    if isinstance(stated, list):
        return _filled(stated, size, place)
    counts = stated.get("counts") if isinstance(stated, dict) else None
    if counts is None or stated.get("size") != list(size):
        raise InputError(f"{place}: segmentation {shown(stated)}: polygons or run lengths of {size} are due; {CURE}")
    most = size[0] * size[1] + 1  # runs: each of one pixel, behind an empty one
    if isinstance(counts, str | list) and len(counts) > (most * NUMBER if isinstance(counts, str) else most):
        raise InputError(f"{place}: {len(counts):,} run lengths: the image has {most - 1:,} pixels; {CURE}")
    return _unrolled(expanded(counts, place) if isinstance(counts, str) else counts, size, place)


def _filled(polygons: list[Any], size: tuple[int, int], place: str) -> np.ndarray:
    """Inside of polygons x1, y1, x2, y2, ...; those of less than three corners have none."""
    left = min(100 * sum(size) + 10 * size[0] * size[1], OUTLINE)  # steps: far more than any outline of an object has
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) % 2 or not all(_near(value, max(size)) for value in polygon):
            raise InputError(f"{place}: polygon {shown(polygon)}: pairs of numbers inside {size} are due; {CURE}")
        corners = np.array(polygon, float).reshape(-1, 2)
        # Pixels on the closed outline, as the C code counts them: it asks for memory by their number.
        steps = int(np.abs(corners - np.roll(corners, 1, 0)).max(1, initial=0).sum())
        left -= 1 + len(polygon) + steps
        if left < 0:
            raise InputError(f"{place}: polygons: longer than any outline in an image of {size}; {CURE}")
    filled = [polygon for polygon in polygons if len(polygon) >= 6]
    if not filled:
        return np.zeros(size, bool)
    return coco_masks.decode(coco_masks.merge(coco_masks.frPyObjects(filled, *size))).astype(bool)


def _near(value: Any, side: int) -> bool:
    """Whether a coordinate is a number in or around the image: the C code asks for memory by its size."""
    return isinstance(value, int | float) and -side <= value <= 2 * side


def expanded(text: str, place: str) -> list[int]:
    """Run lengths of COCO's compressed form: six bits a character, each number the difference to the last but one.

    Raises:
        InputError: a character that does not occur there, a number that is too long, or no end of the last one.
    """
    counts: list[int] = []
    number = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift >= 5 * NUMBER:
            what = "a number too long" if 0 <= bits < 64 else ascii(character)
            raise InputError(f"{place}: {what} in compressed run lengths; {CURE}")
        number |= (bits & 31) << shift
        shift += 5
        if not bits & 32:  # the last character of a number
            number -= (bits >> 4 & 1) << shift
            counts.append(number + (counts[-2] if len(counts) > 2 else 0))
            number = shift = 0
    if shift:
        raise InputError(f"{place}: compressed run lengths end within a number; {CURE}")
    return counts


def _unrolled(counts: Sequence[Any], size: tuple[int, int], place: str) -> np.ndarray:
    """(H,W) bool of run lengths, outside and inside in turn, down the columns.

    Not by pycocotools, which leaves the pixels behind too short runs undefined.
    """
    pixels = size[0] * size[1]
    are_lengths = isinstance(counts, list) and all(type(count) is int and 0 <= count <= pixels for count in counts)
    if not are_lengths or sum(counts) != pixels:
        total = f"run lengths sum up to {sum(counts)}" if are_lengths else f"run lengths {shown(counts)}"
        raise InputError(f"{place}: {total}: the image has {size[0]} x {size[1]} pixels; {CURE}")
    inside = np.arange(len(counts)) % 2 == 1
    return np.repeat(inside, counts).reshape(size[::-1]).T
