"""What masks from soft maps would score for many background powers, from one look at every pixel.

A pixel whose largest map is m is background where (1 - m) ** power >= m. For m in (0,1) that is where
power <= log(m) / log(1 - m): each pixel has one power at which it flips, and the class it flips to is the same for all.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from dhr.core.labels import IGNORE
from dhr.core.numerics import fast_argmax
from dhr.dataset.classes import ClassTable
from dhr.evaluation.scores import Scores, scores_of
from dhr.evaluation.small import LABELS


def flips(top: np.ndarray) -> np.ndarray:
    """The largest power at which a pixel is background, by the value of its largest map in [0,1].

    >>> flips(np.array([0.0, 0.5, 1.0])).tolist()
    [inf, 1.0, 0.0]
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.log(top) / np.log1p(-top)
    return np.where(top <= 0, np.inf, np.where(top >= 1, 0.0, found))


def power_counts(
    maps: Tensor, labels: Tensor, truth: np.ndarray, *, powers: Sequence[float], classes: int
) -> np.ndarray:
    """Counts of one image.

    Args:
        maps: (C,H,W) in [0,1], C may be 0.
        labels: (C) labels of the maps, at least 1.
        truth: (H,W) uint8, IGNORE allowed.
        powers: P of them, rising.
        classes: K.

    Returns:
        (P+1,K+1,K) int64: pixels by how many of the powers make them background, by truth (K is IGNORE) and by the
        label that they have otherwise.
    """
    if len(labels):
        top, chosen = maps.amax(0).double().numpy(), labels[fast_argmax(maps, dim=0)].numpy()
    else:
        top, chosen = np.zeros(truth.shape), np.ones(truth.shape, np.int64)
    rank = np.searchsorted(np.asarray(powers), flips(top), side="right")
    rows = np.where(truth == IGNORE, classes, truth.astype(np.int64))
    code = (rank * (classes + 1) + rows) * classes + chosen
    shape = (len(powers) + 1, classes + 1, classes)
    return np.bincount(code.ravel(), minlength=int(np.prod(shape))).reshape(shape)


class PowerCounts(Metric):
    """Sums `power_counts` and the images that hold each truth label, exactly and over all ranks."""

    full_state_update = False
    counts: Tensor
    holders: Tensor

    def __init__(self, powers: int, classes: int) -> None:
        super().__init__()
        self.add_state("counts", torch.zeros(powers + 1, classes + 1, classes, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("holders", torch.zeros(LABELS, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, counts: Tensor) -> None:
        """Adds one image."""
        self.counts += counts
        held = counts.sum((0, 2)) > 0
        self.holders[: len(held) - 1] += held[:-1]
        self.holders[IGNORE] += held[-1]

    def compute(self) -> tuple[Tensor, Tensor]:
        """The counts (P+1,K+1,K) and the holders (256)."""
        return self.counts, self.holders


def scores_of_powers(counts: Tensor, holders: Tensor, table: ClassTable) -> list[Scores]:
    """Scores for each power, from the sums of all images."""
    shown = counts.cumsum(0)[:-1]  # at power j: pixels that at most j powers, the smaller ones, make background
    hidden = counts.sum((0, 2)) - shown.sum(2)
    found = []
    for foreground, background in zip(shown, hidden, strict=True):
        pairs = torch.zeros(LABELS, LABELS, dtype=torch.int64)
        rows = torch.tensor([*range(table.num_classes), IGNORE])
        pairs[rows, : table.num_classes] = foreground
        pairs[rows, 0] += background
        found.append(scores_of(pairs, holders, table))
    return found
