"""Step 2 of DHR: USS features tell super-categories apart (section 3.3, "inter-class")."""

from dataclasses import dataclass

import torch
from torch import Tensor

from dhr.rebalancing.prototypes import Prototypes, Shares, similarity
from dhr.rebalancing.view import View


@dataclass(frozen=True)
class Heatmaps:
    """TagEvidence for each class on the grid of the USS features.

    Attributes:
        values: (B,M,h,w) in [0,1]; 0 for absent classes and off the image.
        shares: (B,M,h,w) in [0,1], how much of each cell the seeded mask gives each class.
        closeness: (B,M,M) in [0,1], how alike two classes are for the USS model.
        present: (B,M) bool, classes that have a cell.
    """

    values: Tensor
    shares: Tensor
    closeness: Tensor
    present: Tensor


@dataclass(frozen=True)
class InterClass:
    """Likeness of every cell to the USS prototype of every class in the seeded mask, background included.

    Attributes:
        shares: decides how much of each cell a class owns.
        prototypes: makes the one vector of a class from the features of these cells.
    """

    shares: Shares
    prototypes: Prototypes

    def __call__(self, view: View, seeds: Tensor) -> Heatmaps:
        """Heat maps from the seeded mask (B,H,W)."""
        shares, present = class_shares(view, seeds, self.shares)
        prototypes = self.prototypes(view.uss_features, shares)
        values = similarity(view.uss_features, prototypes, view.cells) * present[:, :, None, None]
        unit = torch.nn.functional.normalize(prototypes, dim=2)
        closeness = torch.einsum("bmd,bnd->bmn", unit, unit).clamp(0, 1)
        return Heatmaps(values=values, shares=shares, closeness=closeness, present=present)


@dataclass(frozen=True)
class NoInterClass:
    """Without USS features: nothing separates super-categories, so all classes count as confusable."""

    shares: Shares

    def __call__(self, view: View, seeds: Tensor) -> Heatmaps:
        """Heat maps of ones on the cells that show image, and a closeness of 1 for every pair of classes."""
        shares, present = class_shares(view, seeds, self.shares)
        values = (present[:, :, None, None] & view.cells).float()
        closeness = torch.ones_like(present[:, :, None] & present[:, None, :], dtype=values.dtype)
        return Heatmaps(values=values, shares=shares, closeness=closeness, present=present)


def class_shares(view: View, seeds: Tensor, rule: Shares) -> tuple[Tensor, Tensor]:
    """Shares (B,M,h,w) of the seeded mask on the USS cells that show image, and (B,M) bool, which classes have any."""
    grid = (view.uss_features.shape[-2], view.uss_features.shape[-1])
    shares = rule(view.shown(seeds), grid) * view.cells
    return shares, shares.sum((-2, -1)) > 0
