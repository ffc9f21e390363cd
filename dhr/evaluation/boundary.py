"""Boundary IoU (Cheng et al., Boundary IoU: Improving Object-Centric Image Segmentation Evaluation, CVPR 2021).

Of each class only the pixels count that lie at most a distance d inside its own contour, in the truth and in the
prediction each by itself. As in the authors' implementation (bowenc0221/boundary-iou-api), d is 2 % of the diagonal of
the image, rounded and at least 1, a distance is the larger of rows and columns (they erode d times by 3 x 3), and
the border of the image is a contour.

So a pixel lies in the band of its class exactly where the window of (2d+1) x (2d+1) pixels around it holds another
label or reaches beyond the image, whatever the class is: one band of a label map serves all classes.
"""

import math
from dataclasses import dataclass

import numpy as np

from dhr.dataset.classes import ClassTable
from dhr.evaluation.small import mean_of, number_or_null

SHARE = 0.02  # of the diagonal: published
DEFINITION = (
    f"boundary: of each class only the pixels that lie within {SHARE:.0%} of the image diagonal of its contour, in "
    "truth and prediction each; the image border is a contour, and pixels whose truth is 255 belong to no class in "
    "either, so that their edges are contours in both; TP, P and T of these pixels are summed over all images"
)


def distance(size: tuple[int, int]) -> int:
    """How many pixels deep the band of an image of this (height, width) is.

    >>> distance((375, 500)), distance((8, 8))
    (12, 1)
    """
    return max(round(SHARE * math.hypot(*size)), 1)


@dataclass(frozen=True)
class BoundaryScores:
    """Boundary IoU in percent: `iou` (K), NaN for classes that occur nowhere, and the mean over the others."""

    miou: float
    iou: np.ndarray

    @classmethod
    def of(cls, counts: np.ndarray, table: ClassTable) -> "BoundaryScores":
        """The scores of (3,256) pixels of each class in the bands: of the truth, of the prediction, and of both."""
        truth, predicted, hit = counts[:, : table.num_classes].astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            iou = 100 * hit / (truth + predicted - hit)
        return cls(mean_of(iou), iou)

    def as_json(self) -> dict[str, object]:
        """The mean as it stands in a score file; null where nothing was scored."""
        return {"miou": number_or_null(self.miou), "distance_share": SHARE}
