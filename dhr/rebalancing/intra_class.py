"""Step 3 of DHR: the network's own features tell siblings apart that the USS model confuses ("intra-class")."""

from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from dhr.core.numerics import to_unit_range
from dhr.core.ranges import UnitInterval
from dhr.rebalancing.inter_class import Heatmaps
from dhr.rebalancing.prototypes import prototypes_of, similarity
from dhr.rebalancing.transport import Transport
from dhr.rebalancing.view import View


class Grouping(Protocol):
    """Finds the classes that the USS model confuses."""

    def __call__(self, closeness: Tensor, present: Tensor) -> Tensor:
        """(B,M,M) closeness and (B,M) presence -> (B,G,M) bool members of each group; groups of one are empty."""
        ...


@dataclass(frozen=True)
class ConnectedGroups:
    """Connected components of the graph that joins classes closer than tau.

    Attributes:
        tau: closeness in [0,1] above which two classes are confusable.

    >>> closeness = torch.tensor([[[1.0, 0.9, 0.1, 0.0], [0.9, 1.0, 0.9, 0.0], [0.1, 0.9, 1.0, 0.0], [0.0, 0, 0, 1]]])
    >>> ConnectedGroups(tau=0.8)(closeness, torch.ones(1, 4) > 0).int()  # 0 and 2 meet by way of 1
    tensor([[[1, 1, 1, 0],
             [0, 0, 0, 0],
             [0, 0, 0, 0],
             [0, 0, 0, 0]]], dtype=torch.int32)
    """

    tau: UnitInterval = 0.8

    def __call__(self, closeness: Tensor, present: Tensor) -> Tensor:
        """One group per component, listed at its first class; (B,M,M) bool."""
        both = present[:, :, None] & present[:, None, :]
        here = torch.eye(present.shape[1], dtype=torch.bool, device=present.device)
        reach = ((closeness > self.tau) | here) & both
        for _ in range(max(present.shape[1] - 1, 1).bit_length()):  # squaring doubles the length of the paths
            reach = (reach.float() @ reach.float()) > 0
        first = reach.int().argmax(2) == torch.arange(present.shape[1], device=present.device)
        large = reach.sum(2) >= 2
        return reach & (first & large)[:, :, None]


@dataclass(frozen=True)
class IntraClass:
    """Inside each group of confusable classes, transported similarity in C4 and C5 shares out the heat maps.

    Attributes:
        groups: finds the groups, which must not overlap.
        transport: f_OT.
    """

    groups: Grouping
    transport: Transport

    def __call__(self, view: View, heatmaps: Heatmaps) -> Heatmaps:
        """heatmap[group] <- heatmap[group] * f_OT(H_ws[group]), for all groups at once."""
        members = self.groups(heatmaps.closeness, heatmaps.present).float()
        together = torch.einsum("bgm,bgn->bmn", members, members) > 0
        moved = self.transport.within(own_similarity(view, heatmaps), view.cells, together)
        return replace(heatmaps, values=heatmaps.values * moved)


@dataclass(frozen=True)
class NoIntraClass:
    """The heat maps as they are."""

    def __call__(self, view: View, heatmaps: Heatmaps) -> Heatmaps:
        """Returns `heatmaps`; `view` is not read."""
        return heatmaps


def own_similarity(view: View, heatmaps: Heatmaps) -> Tensor:
    """H_ws: similarity to the classes' prototypes in C4 and in C5, averaged, min-max scaled; (B,M,h,w) in [0,1]."""
    maps = [
        similarity(features, prototypes_of(features, heatmaps.shares), view.cells) for features in view.wss_features
    ]
    return to_unit_range(torch.stack(maps).mean(0), view.cells) * heatmaps.present[:, :, None, None]
