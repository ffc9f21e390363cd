"""Prototypes of classes and heat maps of likeness to them."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from dhr.core.numerics import to_unit_range, unit_vectors
from dhr.core.ranges import UnitInterval


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


@dataclass(frozen=True)
class PureShares:
    """Area shares, of the cells that a class covers for the most part where it has any.

    Cells on a border mix the surroundings into the prototype of a class; one that is nowhere wide keeps all its cells.

    Attributes:
        minimum_share: of a pure cell that the class covers, in [0,1].
    """

    minimum_share: UnitInterval = 0.5

    def __call__(self, pixels: Tensor, grid: tuple[int, int]) -> Tensor:
        """Adaptive average pooling of the one-hot mask, without the mixed cells of classes that have pure ones."""
        area = functional.adaptive_avg_pool2d(pixels.float(), grid)
        pure = area * (area >= self.minimum_share)
        return torch.where(pure.any(-1).any(-1)[:, :, None, None], pure, area)


class Prototypes(Protocol):
    """One vector for each class."""

    def __call__(self, features: Tensor, shares: Tensor) -> Tensor:
        """(B,D,h,w) features and (B,M,h,w) shares -> (B,M,D); zeros for a class without a cell."""
        ...


@dataclass(frozen=True)
class MeanFeature:
    """The mean feature of a class, as published: cells with long vectors count more."""

    def __call__(self, features: Tensor, shares: Tensor) -> Tensor:
        """See `prototypes_of`."""
        return prototypes_of(features, shares)


@dataclass(frozen=True)
class MeanDirection:
    """The mean of the unit vectors of a class: every cell counts by its share alone, as it does in a cosine."""

    def __call__(self, features: Tensor, shares: Tensor) -> Tensor:
        """See `prototypes_of`, of features of length 1."""
        return prototypes_of(unit_vectors(features, dim=1), shares)


def prototypes_of(features: Tensor, shares: Tensor) -> Tensor:
    """Mean feature of each class: (B,D,h,w) and shares (B,M,h,w) -> (B,M,D); zeros for a class without a cell."""
    total = torch.einsum("bdhw,bmhw->bmd", features, shares)
    return total / shares.sum((-2, -1)).clamp_min(1e-12)[:, :, None]


def likeness(features: Tensor, prototypes: Tensor, cells: Tensor) -> Tensor:
    """Cosine between each cell and each prototype, min-max scaled over the valid cells: (B,M,h,w) in [0,1]."""
    cosine = torch.einsum("bdhw,bmd->bmhw", unit_vectors(features, dim=1), unit_vectors(prototypes, dim=2))
    return to_unit_range(cosine, cells)
