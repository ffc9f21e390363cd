"""Everything that is counted of masks and their truth: of some images together, and of all over all ranks."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from dhr.core.labels import IGNORE
from dhr.dataset.classes import ClassTable
from dhr.evaluation.bootstrap import REPLICATES, Intervals, weights_of
from dhr.evaluation.boundary import BoundaryScores, bands, distance, pixels_in
from dhr.evaluation.framed import Frame, Runs
from dhr.evaluation.objects import BELOW, COUNTED, Parts, objects_of
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
        objects: (S,4) int64, see `dhr.evaluation.objects.Objects.counts`.
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


def counted(pairs: Iterable[Pair], *, first_tag: int, objects: bool = True) -> Counted | None:
    """Counts some images together, None where there are none.

    Args:
        pairs: the images.
        first_tag: the first class that is no background.
        objects: whether objects are counted, a quarter of all the work; else they are 0.
    """
    ids, parts, codes, sums = [], [], [], []
    frames: dict[tuple[int, int], Frame] = {}
    for image_id, prediction, truth in pairs:
        size = (truth.shape[0], truth.shape[1])
        reach = distance(size)
        if size not in frames:
            frames[size] = Frame(size, rows=reach + 1)
        runs = frames[size].fill(prediction, truth)
        code, pixels = _summed(frames[size], runs, reach)
        ids.append(image_id)
        if objects:
            parts.append(Parts.of(runs, frames[size], first_tag=first_tag, whole=truth.size))
        codes.append(code)
        sums.append(pixels)
    if not ids:
        return None
    image = np.repeat(np.arange(len(ids)), [len(each) for each in codes])
    code, pixels = np.concatenate(codes).astype(np.int64), np.concatenate(sums)
    shown = code < IGNORE << 8
    by_class, by_image = _by_class(image[shown], code[shown], pixels[shown], len(ids))
    return Counted(
        pairs=np.bincount(code[shown], pixels[shown, 0], minlength=LABELS**2).astype(np.int64).reshape(LABELS, LABELS),
        holders=(by_image[0] > 0).sum(0),
        small=small_counts(by_image[0], by_image).sum(1),
        boundary=by_class,
        objects=objects_of(parts).counts(),
        images=np.moveaxis(by_image, 0, 1),
        weights=np.stack([weights_of(image_id) for image_id in ids]),
    )


def _by_class(image: np.ndarray, code: np.ndarray, pixels: np.ndarray, images: int) -> tuple[np.ndarray, np.ndarray]:
    """From sums of pairs, see `_summed`: `Counted.boundary`, and pixels (3,B,256) of each image and class."""
    truth, prediction = code >> 8, code & 255
    whole, of_truth, of_prediction, of_both = pixels.T
    hit = truth == prediction
    bands_of = ((truth, of_truth), (prediction, of_prediction), (truth, of_both * hit))
    by_class = [np.bincount(labels, weights, minlength=LABELS) for labels, weights in bands_of]
    by_image = [
        np.bincount(LABELS * image + labels, weights, minlength=LABELS * images)
        for labels, weights in ((truth, whole), (prediction, whole), (truth, whole * hit))
    ]
    return np.stack(by_class).astype(np.int64), np.stack(by_image).astype(np.int64).reshape(3, images, LABELS)


def _summed(frame: Frame, runs: Runs, reach: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes (G) of the pairs of an image, 256 * truth + prediction, each once.

    And (G,4) pixels of each: all, those in the band of the truth, in that of the prediction, in both.
    """
    codes = runs.truth.astype(np.uint16) << 8 | runs.prediction
    order = np.argsort(codes, kind="stable")  # by digits: the fastest for 16 bits
    codes = codes.take(order)
    first = np.flatnonzero(np.concatenate([[True], codes[1:] != codes[:-1]]))
    bits = bands(frame, reach)
    inside = pixels_in(np.concatenate([bits, bits[:1] & bits[1:]]), runs.stop - reach * (frame.width + 1))
    pixels = np.concatenate([runs.length[None].astype(np.int32), inside]).take(order, axis=1)
    return codes[first], np.add.reduceat(pixels, first, axis=1).T


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


def scores_of_split(sums: Mapping[str, Tensor], table: ClassTable, *, objects: bool = True) -> Scores:
    """All scores, from the sums of `SplitCounts` over all images; `objects` says whether these were counted."""
    return replace(
        scores_of(sums["pairs"], sums["holders"], table, small=sums["small"]),
        boundary=BoundaryScores.of(sums["boundary"].numpy(), table),
        intervals=Intervals.of(sums["replicates"].numpy().reshape(REPLICATES, 3, table.num_classes)),
        objects=sums["objects"].numpy() if objects else None,
    )
