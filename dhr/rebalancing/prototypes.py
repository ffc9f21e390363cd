"""Prototypes of classes and heat maps of similarity to them."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from dhr.core.numerics import to_unit_range, unit_vectors
from dhr.core.ranges import UnitInterval


class Shares(Protocol):
    """Decides how much of each cell belongs to each class."""

    def __call__(self, pixels: Tensor, grid: tuple[int, int]) -> Tensor:
        """(B,M,H,W) bool pixels of each slot -> (B,M,h,w) in [0,1]."""
        ...


@dataclass(frozen=True)
class AreaShares:
    """The share of a cell's area that a class covers, so that a class that has the majority in no cell counts too.

    >>> mask = torch.tensor([[[0, 0, 0, 0], [0, 1, 0, 0]]])  # class 1 has one pixel of the left cell
    >>> AreaShares()(torch.stack([mask == 0, mask == 1], 1), (1, 2)).tolist()
    [[[[0.75, 1.0]], [[0.25, 0.0]]]]
    """

    def __call__(self, pixels: Tensor, grid: tuple[int, int]) -> Tensor:
        """Adaptive average pooling of the one-hot mask."""
        return functional.adaptive_avg_pool2d(pixels.float(), grid)


@dataclass(frozen=True)
class PureShares:
    """Area shares, but a class that has pure cells gets no share of its mixed ones.

    Mixed cells, those on a border, bring the surroundings into the prototype of a class. A class without a pure cell
    keeps all its cells.

    Attributes:
        minimum_share: share of a cell, in [0,1], from which on the cell is pure for the class that covers it.

    >>> mask = torch.tensor([[[0, 0, 0, 0, 0, 2], [0, 0, 0, 1, 1, 1]]])  # cells of 2x2 pixels
    >>> PureShares()(torch.stack([mask == 0, mask == 1, mask == 2], 1), (1, 3)).tolist()
    [[[[1.0, 0.75, 0.0]], [[0.0, 0.0, 0.5]], [[0.0, 0.0, 0.25]]]]
    """

    minimum_share: UnitInterval = 0.5

    def __call__(self, pixels: Tensor, grid: tuple[int, int]) -> Tensor:
        """Area shares, 0 in the mixed cells of classes that have pure ones."""
        area = functional.adaptive_avg_pool2d(pixels.float(), grid)
        pure = area * (area >= self.minimum_share)
        return torch.where(pure.any(-1).any(-1)[:, :, None, None], pure, area)


class Prototypes(Protocol):
    """Computes one vector for each class."""

    def __call__(self, features: Tensor, shares: Tensor) -> Tensor:
        """(B,D,h,w) features and (B,M,h,w) shares -> (B,M,D); zeros for a class without a cell."""
        ...


@dataclass(frozen=True)
class MeanFeature:
    """The mean feature of a class, as published: cells with long vectors count more."""

    def __call__(self, features: Tensor, shares: Tensor) -> Tensor:
        """Computes `prototypes_of` the features as they are."""
        return prototypes_of(features, shares)


@dataclass(frozen=True)
class MeanDirection:
    """The mean of the unit vectors of a class: every cell counts by its share alone, as it does in a cosine.

    >>> features, shares = torch.tensor([[[[9.0, 0.0]], [[0.0, 1.0]]]]), torch.ones(1, 1, 1, 2)
    >>> MeanFeature()(features, shares).tolist(), MeanDirection()(features, shares).tolist()
    ([[[4.5, 0.5]]], [[[0.5, 0.5]]])
    """

    def __call__(self, features: Tensor, shares: Tensor) -> Tensor:
        """Computes `prototypes_of` the features, each divided by its length."""
        return prototypes_of(unit_vectors(features, dim=1), shares)


def prototypes_of(features: Tensor, shares: Tensor) -> Tensor:
    """Mean feature of each class: (B,D,h,w) and shares (B,M,h,w) -> (B,M,D); zeros for a class without a cell.

    >>> features = torch.tensor([[[[1.0, 2.0, 6.0]]]])  # one channel
    >>> shares = torch.tensor([[[[1.0, 1.0, 0.0]], [[0.0, 0.5, 0.5]], [[0.0, 0.0, 0.0]]]])  # three classes
    >>> prototypes_of(features, shares).tolist()
    [[[1.5], [4.0], [0.0]]]
    """
    total = torch.einsum("bdhw,bmhw->bmd", features, shares)
    return total / shares.sum((-2, -1)).clamp_min(1e-12)[:, :, None]


def similarity(features: Tensor, prototypes: Tensor, cells: Tensor) -> Tensor:
    """Cosine between each cell and each prototype, min-max scaled over the valid cells: (B,M,h,w) in [0,1].

    The cell that is most like a prototype gets 1, the one that is least like it 0, however alike they are.

    Args:
        features: (B,D,h,w).
        prototypes: (B,M,D).
        cells: (B,1,h,w) bool, the valid cells.

    >>> features = torch.tensor([[[[1.0, 1.0, 0.0, 5.0]], [[0.0, 1.0, 1.0, 0.0]]]])  # cells at 0, 45, 90 and 0 degrees
    >>> similarity(features, torch.tensor([[[2.0, 0.0]]]), torch.tensor([[[[True, True, True, False]]]]))
    tensor([[[[1.0000, 0.7071, 0.0000, 0.0000]]]])
    """
    cosine = torch.einsum("bdhw,bmd->bmhw", unit_vectors(features, dim=1), unit_vectors(prototypes, dim=2))
    return to_unit_range(cosine, cells)
