"""Prototypes of classes and heat maps of likeness to them."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from dhr.numerics import to_unit_range, unit_vectors


class Shares(Protocol):
    """How much each class owns of each cell."""

    def __call__(self, pixels: Tensor, grid: tuple[int, int]) -> Tensor:
        """(B,M,H,W) bool pixels of each slot -> (B,M,h,w) in [0,1]."""
        ...


@dataclass(frozen=True)
class AreaShares:
    """The share of a cell's area that a class covers: a class that wins no cell keeps its prototype."""

    def __call__(self, pixels: Tensor, grid: tuple[int, int]) -> Tensor:
        """Adaptive average pooling of the one-hot mask."""
        return functional.adaptive_avg_pool2d(pixels.float(), grid)


def prototypes_of(features: Tensor, shares: Tensor) -> Tensor:
    """Mean feature of each class: (B,D,h,w) and shares (B,M,h,w) -> (B,M,D); zeros for a class without a cell."""
    total = torch.einsum("bdhw,bmhw->bmd", features, shares)
    return total / shares.sum((-2, -1)).clamp_min(1e-12)[:, :, None]


def likeness(features: Tensor, prototypes: Tensor, cells: Tensor) -> Tensor:
    """Cosine between each cell and each prototype, min-max scaled over the valid cells: (B,M,h,w) in [0,1]."""
    cosine = torch.einsum("bdhw,bmd->bmhw", unit_vectors(features, dim=1), unit_vectors(prototypes, dim=2))
    return to_unit_range(cosine, cells)
