"""Boxes with a label and a score, and their way to masks."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Boxes:
    """Boxes in an image, the best first.

    Attributes:
        labels: (N) of their classes.
        scores: (N) in [0,1], falling.
        corners: (N,4) x and y of the upper left corner, x and y of the lower right one, in pixels, inside the image.
        likeliest: label of the best of all candidates, see `Found`.
    """

    labels: Tensor
    scores: Tensor
    corners: Tensor
    likeliest: int | None

    @classmethod
    def sorted(cls, labels: Tensor, scores: Tensor, corners: Tensor, *, threshold: float) -> "Boxes":
        """The boxes whose score is above a threshold and that cover something; of equal scores, the first is first."""
        likeliest = int(labels[scores.argmax()]) if len(labels) else None
        covers = (corners[:, 2:] > corners[:, :2]).all(1)
        order = scores.argsort(descending=True, stable=True)
        order = order[(covers & (scores > threshold))[order]]
        return cls(labels[order], scores[order], corners[order], likeliest)


def corners_of(centred: Tensor, size: tuple[int, int]) -> Tensor:
    """(N,4) centre, width and height in shares of the image -> corners in pixels, cut to the image.

    >>> corners_of(torch.tensor([[0.5, 0.5, 0.5, 2.0]]), (10, 20)).tolist()
    [[5.0, 0.0, 15.0, 10.0]]
    """
    whole = centred.new_tensor([size[1], size[0]])
    low, high = centred[:, :2] - centred[:, 2:] / 2, centred[:, :2] + centred[:, 2:] / 2
    return torch.cat([(low.clamp(0, 1) * whole), (high.clamp(0, 1) * whole)], 1)
