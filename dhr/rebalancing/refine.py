"""The end of DHR: transport over all classes of the crop, CRF, argmax."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from dhr.core.labels import IGNORE
from dhr.core.numerics import fast_argmax, resize, to_unit_range
from dhr.core.ranges import UnitInterval
from dhr.crf.interface import Field
from dhr.rebalancing.inter_class import Heatmaps
from dhr.rebalancing.transport import Transport
from dhr.rebalancing.view import View


class Mass(Protocol):
    """How much mass each class gets in the final transport."""

    def __call__(self, heatmaps: Heatmaps) -> Tensor:
        """Mass of each class, (B,M): positive for present classes, 0 for the others."""
        ...


@dataclass(frozen=True)
class AreaMass:
    """Mass by the area in the seeded mask, softened: area ** power.

    Attributes:
        power: in [0,1]. 0 is the published equal mass, which makes small classes over-segment, since background
            gets no more than they do; 1 gives every class what it has already, and brings nothing back.

    >>> shares = torch.tensor([[[[1.0, 1.0, 1.0, 1.0]], [[0.5, 0.5, 0.0, 0.0]], [[0.0, 0.0, 0.0, 0.0]]]])
    >>> maps = Heatmaps(values=shares, shares=shares, closeness=torch.eye(3)[None], present=shares.sum((2, 3)) > 0)
    >>> AreaMass(power=0.5)(maps), AreaMass(power=0.0)(maps)
    (tensor([[2., 1., 0.]]), tensor([[1., 1., 0.]]))
    """

    power: UnitInterval = 0.0

    def __call__(self, heatmaps: Heatmaps) -> Tensor:
        """Softened areas of the present classes."""
        return heatmaps.shares.sum((-2, -1)).clamp_min(1e-6) ** self.power * heatmaps.present


@dataclass(frozen=True)
class FinalTransport:
    """H <- min-max(H * f_OT(H)) over all classes of the crop."""

    transport: Transport
    mass: Mass

    def __call__(self, heatmaps: Heatmaps, cells: Tensor) -> Tensor:
        """Balanced heat maps (B,M,h,w) in [0,1]; 0 off the `cells` (B,1,h,w) and for absent classes."""
        moved = self.transport(heatmaps.values, cells, heatmaps.present, self.mass(heatmaps))
        return to_unit_range(heatmaps.values * moved, cells) * heatmaps.present[:, :, None, None]


@dataclass(frozen=True)
class NoFinalTransport:
    """The heat maps as they are."""

    def __call__(self, heatmaps: Heatmaps, cells: Tensor) -> Tensor:
        """The values (B,M,h,w) of `heatmaps`; `cells` are not read."""
        return heatmaps.values


class Final(Protocol):
    """Last balancing of the heat maps before the CRF."""

    def __call__(self, heatmaps: Heatmaps, cells: Tensor) -> Tensor:
        """Heat maps (B,M,h,w) in [0,1] from `heatmaps` and the valid cells (B,1,h,w) bool."""
        ...


@dataclass(frozen=True)
class Refine:
    """Turns heat maps into labels: final balancing, resize, CRF, and the class of the largest marginal.

    Attributes:
        final: balancing over all classes.
    """

    final: Final

    def __call__(self, view: View, heatmaps: Heatmaps, field: Field) -> Tensor:
        """Pseudo mask (B,H,W): the winning class inside the valid box; IGNORE elsewhere, and if no class has a cell."""
        size = (view.pixels.shape[-2], view.pixels.shape[-1])
        values = resize(self.final(heatmaps, view.cells), size).clamp(0, 1)
        marginals = field(values, heatmaps.present)
        label = view.slots.to_classes(fast_argmax(marginals, dim=1))
        labelled = view.valid[:, 0] & heatmaps.present.any(1)[:, None, None]
        return torch.where(labelled, label, IGNORE)
