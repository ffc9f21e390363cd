"""Scores of small objects: each class only in the images in which it is small (docs/method.md, "Metric")."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from dhr.core.labels import IGNORE
from dhr.dataset.classes import ClassTable

LABELS = 256  # every value an 8-bit mask can hold
SHARE = 0.05  # of the pixels of an image that are not IGNORE in its truth, below which a class is small in it
DEFINITION = (
    f"small objects: for each class TP, P and T over the images whose truth shows it on less than {SHARE:.0%} of the "
    "pixels that are not 255; means over the tag classes that have such an image"
)
ROWS = ("images", "truth", "predicted", "hit")  # of the counts


class SmallObjects(Metric):
    """Sums the counts of every class over the images in which it is small, exactly and over all ranks.

    The state is (4,256) int64, see `small_counts`.
    """

    full_state_update = False
    counts: Tensor

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.add_state("counts", torch.zeros(len(ROWS), LABELS, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, counts: Tensor) -> None:
        """Adds the counts of one image, or of several together."""
        self.counts += counts

    def compute(self) -> Tensor:
        """The sums of all counts, (4,256) int64, see `small_counts`."""
        return self.counts


def small_of(pairs: np.ndarray) -> np.ndarray:
    """The counts (4,256) of one image from its joint histogram (256,256), rows truth; see `small_counts`.

    Pixels that are IGNORE in the truth are left out. Those that are IGNORE in the prediction alone belong to the area
    of their class, but are in no other count.
    """
    shown = pairs[:IGNORE]
    scored = shown[:, :IGNORE]
    counts = np.zeros((3, LABELS), np.int64)
    counts[:, :IGNORE] = scored.sum(1), scored.sum(0), scored.diagonal()
    area = np.zeros(LABELS, np.int64)
    area[:IGNORE] = shown.sum(1)
    return small_counts(area, counts)


def small_of_runs(labels: np.ndarray, others: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """As `small_of`, from runs of equal pairs.

    Args:
        labels: (R) truth of each run.
        others: (R) prediction of each run.
        lengths: (R) pixels of each run.
    """
    shown = labels != IGNORE
    scored = shown & (others != IGNORE)

    def pixels(of: np.ndarray, where: np.ndarray) -> np.ndarray:
        return np.bincount(of, weights=lengths * where, minlength=LABELS).astype(np.int64)

    counts = [pixels(labels, scored), pixels(others, scored), pixels(labels, scored & (labels == others))]
    return small_counts(pixels(labels, shown), np.stack(counts))


def small_counts(area: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The counts of one image, or of each of several, 0 for classes that are not small in it.

    Args:
        area: (...,256) pixels of each class in the truth, 0 for IGNORE.
        counts: (3,...,256) pixels of each class in the truth, in the prediction and in both, where both are scored.

    Returns:
        (4,...,256) int64: whether the class is small, and the three counts.

    >>> area = np.bincount([0] * 96 + [3] * 4, minlength=LABELS)  # class 3 has 4 of 100 pixels
    >>> small_counts(area, np.stack([area, area, area // 2]))[:, :4].tolist()
    [[0, 0, 0, 1], [0, 0, 0, 4], [0, 0, 0, 4], [0, 0, 0, 2]]
    """
    small = (area > 0) & (area < SHARE * area.sum(-1, keepdims=True))
    return np.concatenate([small[None].astype(np.int64), counts * small])


@dataclass(frozen=True)
class SmallScores:
    """Scores of small objects: `miou` and `iou` in percent, the rates as fractions, NaN where nothing is small.

    The arrays have one entry per class; `images` counts those in which it is small.
    """

    miou: float
    mfpr: float
    mfnr: float
    iou: np.ndarray
    fpr: np.ndarray
    fnr: np.ndarray
    images: np.ndarray

    @classmethod
    def of(cls, counts: Tensor, table: ClassTable) -> "SmallScores":
        """The scores of counts over all images."""
        images, truth, predicted, hit = counts[:, : table.num_classes].cpu().numpy().astype(np.float64)
        union = truth + predicted - hit
        with np.errstate(invalid="ignore", divide="ignore"):
            iou, fpr, fnr = 100 * hit / union, (predicted - hit) / union, (truth - hit) / union
        miou, mfpr, mfnr = (mean_of(values[table.first_tag :]) for values in (iou, fpr, fnr))
        return cls(miou, mfpr, mfnr, iou, fpr, fnr, images.astype(np.int64))

    def as_json(self, table: ClassTable) -> dict[str, object]:
        """The scores as they stand in a score file; NaN becomes null."""
        means = {key: number_or_null(getattr(self, key)) for key in ("miou", "mfpr", "mfnr")}
        classes = [
            {
                "name": name,
                "images": int(self.images[index]),
                **{key: number_or_null(getattr(self, key)[index]) for key in ("iou", "fpr", "fnr")},
            }
            for index, name in enumerate(table.names)
        ]
        return {"share": SHARE, **means, "classes": classes}


def mean_of(values: np.ndarray) -> float:
    """Mean of the values that are not NaN; NaN where all are.

    >>> mean_of(np.array([1.0, np.nan, 2.0])), mean_of(np.array([np.nan]))
    (1.5, nan)
    """
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def number_or_null(value: float) -> float | None:
    """The value for JSON, which has no NaN."""
    return None if np.isnan(value) else float(value)
