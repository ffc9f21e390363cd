"""Bootstrap intervals of mIoU and of the IoU of every class, over images.

A replicate of the bootstrap draws as many images as there are, with replacement, so each image comes n times, where n
is nearly Poisson(1). The Poisson bootstrap (Hanley and MacGibbon, Creating Non-Parametric Bootstrap Samples Using
Poisson Frequencies, 2006) draws n of each image by itself. So images may come in any order and on any process, and
sums of the replicates are all that is kept.
"""

import hashlib
import math
from dataclasses import dataclass

import numpy as np

from dhr.evaluation.small import number_or_null

REPLICATES = 1000
LEVEL = 0.95
SEED = 1
DEFINITION = (
    f"intervals: {LEVEL:.0%}, between percentiles of {REPLICATES} replicates of a Poisson bootstrap over images "
    f"(seed {SEED}), classes that a replicate does not hold left out of it"
)
BITS = 16  # of chance behind each weight


def _weight_of_bits() -> np.ndarray:
    """(65536) uint8: a Poisson(1) number for each value of 16 random bits, by the inverse of its distribution."""
    probabilities = [math.exp(-1) / math.factorial(number) for number in range(12)]
    thresholds = np.round(np.cumsum(probabilities) * 2**BITS)
    return np.searchsorted(thresholds, np.arange(2**BITS), side="right").astype(np.uint8)


WEIGHTS = _weight_of_bits()


def weights_of(image_id: str) -> np.ndarray:
    """(REPLICATES) uint8: how often an image comes in each replicate; depends on its id alone.

    The random bits are those of SHAKE-128 over seed and id, so they are the same on every machine and in every version.

    >>> weights_of("2007_000033")[:8].tolist()
    [1, 1, 4, 1, 4, 0, 2, 0]
    """
    bits = hashlib.shake_128(f"{SEED} {image_id}".encode()).digest(REPLICATES * BITS // 8)
    return WEIGHTS.take(np.frombuffer(bits, "<u2"))


@dataclass(frozen=True)
class Intervals:
    """`miou` (2) and `iou` (K,2) in percent, low and high; NaN where no replicate holds the class."""

    miou: np.ndarray
    iou: np.ndarray

    @classmethod
    def of(cls, sums: np.ndarray) -> "Intervals":
        """The intervals of sums (R,3,K) of each replicate: pixels of the truth, of the prediction, and of both."""
        truth, predicted, hit = np.moveaxis(sums, 1, 0)
        union = truth + predicted - hit
        iou = np.divide(100 * hit, union, out=np.full(union.shape, np.nan), where=union > 0)
        known = ~np.isnan(iou)
        held = known.sum(1)
        miou = np.divide(np.where(known, iou, 0).sum(1), held, out=np.full(len(iou), np.nan), where=held > 0)
        return cls(_between(miou), np.stack([_between(each) for each in iou.T]))


def _between(values: np.ndarray) -> np.ndarray:
    known = values[~np.isnan(values)]
    edges = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    return np.quantile(known, edges) if len(known) else np.full(2, np.nan)


def interval_json(interval: np.ndarray) -> list[float] | None:
    """[low, high] for JSON; None where there is no interval."""
    low, high = map(number_or_null, interval)
    return None if low is None or high is None else [low, high]
