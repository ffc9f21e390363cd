"""How much of the objects of the truth is found, by their size.

An object is a connected part of one class of the truth, background excepted; pixels that touch at a corner are
connected. Parts are found from the runs of the rows: two runs of one class in neighbouring rows touch, or they do not.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from dhr.core.labels import IGNORE
from dhr.evaluation.framed import Frame, Runs

BELOW = (0.01, 0.05)  # shares of the pixels of an image
HALF = 0.5  # of the pixels of an object have to have its class for it to be found
COUNTED = ("objects", "pixels", "hit", "found")
DEFINITION = (
    "objects: connected parts of the truth of one class (8 neighbours), background excepted, that cover less than the "
    "share `below` of the pixels of their image; recall: share of their pixels that have their class; found: share of "
    "these objects at least half of whose pixels have it"
)


@dataclass(frozen=True)
class Objects:
    """Objects of some images: `pixels` (O), `hit` pixels that have the right class, and `share` of their image."""

    pixels: np.ndarray
    hit: np.ndarray
    share: np.ndarray

    def counts(self) -> np.ndarray:
        """(S,4) int64, a row for each of BELOW: objects, their pixels, pixels hit, objects found."""
        found = self.hit >= HALF * self.pixels
        rows = [(small.sum(), self.pixels @ small, self.hit @ small, found @ small) for small in self._smaller()]
        return np.array(rows, np.int64)

    def _smaller(self) -> list[np.ndarray]:
        return [(self.share < below).astype(np.int64) for below in BELOW]


@dataclass(frozen=True)
class Parts:
    """Runs of one class in the truth of an image.

    Attributes:
        start: (P) int64 place of the first pixel in the frame.
        label: (P) uint8.
        length: (P) int64 pixels.
        hit: (P) int64, how many of them have the right class.
        width: columns of a row of the frame.
        room: pixels of the frame.
        whole: pixels of the image.
    """

    start: np.ndarray
    label: np.ndarray
    length: np.ndarray
    hit: np.ndarray
    width: int
    room: int
    whole: int

    @classmethod
    def of(cls, runs: Runs, frame: Frame, *, first_tag: int, whole: int) -> "Parts":
        """Joins the runs of an image that differ in the prediction alone; classes from `first_tag` on have objects."""
        chosen = np.flatnonzero((runs.truth >= first_tag) & (runs.truth != IGNORE))
        label, length = runs.truth.take(chosen), runs.length.take(chosen)
        stop = runs.stop.take(chosen)
        start, hit = stop - length, length * (label == runs.prediction.take(chosen))
        begins = np.ones(len(chosen), bool)
        begins[1:] = (label[1:] != label[:-1]) | (start[1:] != stop[:-1])
        first = np.flatnonzero(begins)
        if len(first):
            start, label, hit = start.take(first), label.take(first), np.add.reduceat(hit, first)
            length = stop.take(np.append(first[1:], len(stop)) - 1) - start
        return cls(start, label, length, hit, frame.width, frame.labels.shape[1], whole)


def objects_of(images: Sequence[Parts]) -> Objects:
    """The objects of some images, which are taken as if they lay one below the other, frames between them."""
    if not images:
        return Objects(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    counts = [len(image.start) for image in images]
    offsets = np.cumsum([0, *(image.room for image in images[:-1])])
    label, length, hit = (
        np.concatenate(each) for each in zip(*((one.label, one.length, one.hit) for one in images), strict=True)
    )
    start = np.concatenate([image.start + offset for image, offset in zip(images, offsets, strict=True)])
    number, of = _connected(start, start + length, np.repeat([image.width for image in images], counts), label)
    whole = np.ones(number)
    whole[of] = np.repeat([image.whole for image in images], counts)
    pixels, hits = (np.bincount(of, weights=each, minlength=number) for each in (length, hit))
    return Objects(pixels.astype(np.int64), hits.astype(np.int64), pixels / whole)


def _connected(start: np.ndarray, stop: np.ndarray, width: np.ndarray, label: np.ndarray) -> tuple[int, np.ndarray]:
    """Number of connected parts of runs, and the part of each; runs in the order of their places."""
    # In the next row, from one pixel before the run to one behind it.
    low, high = np.searchsorted(stop, start + width), np.searchsorted(start, stop + width, side="right")
    touching = np.maximum(high - low, 0)
    above = np.repeat(np.arange(len(start)), touching)
    below = np.arange(len(above)) - np.repeat(np.cumsum(touching) - touching - low, touching)
    alike = label[above] == label[below]
    pointers = np.concatenate([[0], np.cumsum(np.bincount(above[alike], minlength=len(start)))])
    graph = csr_array((np.ones(int(alike.sum()), np.int8), below[alike], pointers), shape=(len(start), len(start)))
    number, of = connected_components(graph, connection="weak")
    return int(number), of


def recalls(counts: np.ndarray) -> list[dict[str, float | int | None]]:
    """Recalls by size as they stand in a score file, from counts (S,4) of all images; null where there is no object.

    >>> recalls(np.array([[0, 0, 0, 0], [4, 200, 150, 3]]))[1]
    {'below': 0.05, 'objects': 4, 'recall': 0.75, 'found': 0.75}
    """
    return [
        {
            "below": below,
            "objects": int(number),
            "recall": float(hit / pixels) if number else None,
            "found": float(found / number) if number else None,
        }
        for below, (number, pixels, hit, found) in zip(BELOW, counts, strict=True)
    ]
