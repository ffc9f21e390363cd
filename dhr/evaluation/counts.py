"""Everything that is counted of masks and their truth: of some images together, and of all over all ranks."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from dhr.dataset.classes import ClassTable
from dhr.evaluation import loops
from dhr.evaluation.bootstrap import REPLICATES, Intervals, weights_of
from dhr.evaluation.boundary import BoundaryScores, distance
from dhr.evaluation.objects import BELOW, COUNTED
from dhr.evaluation.scores import Scores, scores_of
from dhr.evaluation.small import LABELS, ROWS, small_counts

Pair = tuple[str, np.ndarray, np.ndarray]
"""Id of an image, its prediction and its truth, (H,W) uint8 each."""


@dataclass(frozen=True)
class Counted:
    """What was counted of some images.

    Attributes:
        pairs: (256,256) int64 joint histogram, rows truth; pixels that are IGNORE in the truth are not in it.
        holders: (256) int64, how many images hold each truth label.
        small: (4,256) int64 counts of small objects, see `dhr.evaluation.small.small_counts`.
        boundary: (3,256) int64 pixels in the bands of truth, of prediction, and of both where they have one label.
        objects: (S,4) int64, see `dhr.evaluation.loops.count_objects`.
        images: (B,3,256) int64 pixels of each image and class in the truth, in the prediction and in both.
        weights: (B,REPLICATES) uint8 of the bootstrap.
    """

    pairs: np.ndarray
    holders: np.ndarray
    small: np.ndarray
    boundary: np.ndarray
    objects: np.ndarray
    images: np.ndarray
    weights: np.ndarray


class Memory:
    """Room for the loops, used again for the next image: fresh memory for each would cost more than the counting."""

    def __init__(self, pixels: int) -> None:
        """Room for an image of so many pixels."""
        self.room = -(-pixels // loops.WORD) * loops.WORD
        self.maps, self.spare = np.empty((4, self.room), np.uint8), np.empty((2, self.room), np.uint8)
        self.runs, self.parts = np.empty((4, self.room), np.int32), np.empty((5, self.room), np.int32)


def counted(pairs: Iterable[Pair], *, first_tag: int) -> Counted | None:
    """Counts some images together, None where there are none.

    Args:
        pairs: the images.
        first_tag: the first class that is no background.
    """
    joint, boundary = np.zeros((LABELS, LABELS), np.int64), np.zeros((3, LABELS), np.int64)
    found, below = np.zeros((len(BELOW), len(COUNTED)), np.int64), np.array(BELOW)
    ids, images, memory = [], [], Memory(0)
    for image_id, prediction, truth in pairs:
        (height, width), pixels = truth.shape, truth.size
        reach = distance((height, width))
        if memory.room < pixels:
            memory = Memory(pixels)
        labels, bands = memory.maps[:2], memory.maps[2:]
        for each, mask in zip(labels, (truth, prediction), strict=True):
            each[:pixels].reshape(height, width)[:] = mask
        loops.hide(labels[0, :pixels], labels[1])
        for each, band in zip(labels, bands, strict=True):
            loops.mark_band(each, (height, width), reach, memory.spare, band)
        image = np.zeros((3, LABELS), np.int64)
        runs = loops.count_runs(memory.maps, pixels, joint, boundary, image, memory.runs)
        parts = loops.find_parts(memory.runs, runs, width, first_tag, memory.parts)
        loops.link_parts(memory.parts, parts, width)
        loops.count_objects(memory.parts, parts, pixels, below, found)
        ids.append(image_id)
        images.append(image)
    if not ids:
        return None
    by_image = np.stack(images)
    return Counted(
        pairs=joint,
        holders=(by_image[:, 0] > 0).sum(0),
        small=small_counts(by_image[:, 0], np.moveaxis(by_image, 1, 0)).sum(1),
        boundary=boundary,
        objects=found,
        images=by_image,
        weights=np.stack([weights_of(image_id) for image_id in ids]),
    )


class SplitCounts(Metric):
    """Sums what was counted, exactly and over all ranks; its size does not depend on the number of images.

    Sums of the bootstrap are whole numbers in float64, far below 2**53, so the order of the images changes nothing.
    """

    full_state_update = False
    pairs: Tensor
    holders: Tensor
    small: Tensor
    boundary: Tensor
    objects: Tensor
    replicates: Tensor
    total: Tensor

    def __init__(self, num_classes: int, **options: Any) -> None:
        super().__init__(**options)
        shapes = {
            "pairs": (LABELS, LABELS),
            "holders": (LABELS,),
            "small": (len(ROWS), LABELS),
            "boundary": (3, LABELS),
            "objects": (len(BELOW), len(COUNTED)),
        }
        self.add_state("total", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        for name, shape in shapes.items():
            self.add_state(name, torch.zeros(shape, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state(
            "replicates", torch.zeros(REPLICATES, 3 * num_classes, dtype=torch.float64), dist_reduce_fx="sum"
        )

    def update(self, counts: Counted | None) -> None:
        """Adds what was counted of some images, if any; their labels are all below the number of classes."""
        if counts is None:
            return
        for name in ("pairs", "holders", "small", "boundary", "objects"):
            getattr(self, name).add_(torch.from_numpy(getattr(counts, name)))
        self.total += len(counts.images)
        known = self.replicates.shape[1] // 3
        images = torch.from_numpy(counts.images[:, :, :known]).double().flatten(1)
        self.replicates.addmm_(torch.from_numpy(counts.weights).double().T, images)

    def compute(self) -> dict[str, Tensor]:
        """The sums by the names of `Counted`, `total` images, and (REPLICATES,3*K) float64 `replicates`."""
        names = ("pairs", "holders", "small", "boundary", "objects", "replicates", "total")
        return {name: getattr(self, name) for name in names}


def scores_of_split(sums: Mapping[str, Tensor], table: ClassTable) -> Scores:
    """All scores, from the sums of `SplitCounts` over all images."""
    return replace(
        scores_of(sums["pairs"], sums["holders"], table, small=sums["small"]),
        boundary=BoundaryScores.of(sums["boundary"].numpy(), table),
        intervals=Intervals.of(sums["replicates"].numpy().reshape(REPLICATES, 3, table.num_classes)),
        objects=sums["objects"].numpy(),
    )
