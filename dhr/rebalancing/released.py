"""Parts that compute as the released code does where that is defined, defects included (docs/method.md lists them).

They exist to show the difference; `rebalancing=dhr` uses none of them.
"""

from dataclasses import dataclass, replace
from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor
from torch.nn import functional

from dhr.core.numerics import fast_argmax
from dhr.core.ranges import UnitInterval
from dhr.crf.interface import Field
from dhr.rebalancing.inter_class import Heatmaps
from dhr.rebalancing.intra_class import own_similarity
from dhr.rebalancing.seed import competing
from dhr.rebalancing.transport import cell_error
from dhr.rebalancing.view import View

STOP = 1e-2  # on the mean change of the row scaling: absolute, although a row holds only 1/N of the mass
MOST_ITERATIONS = 100
FLOOR = 1e-5  # in the min-max of the plan: absolute, although the plan is about 1/(NK)


@dataclass(frozen=True)
class ReleasedTransport:
    """f_OT that stops early and scales with an absolute floor.

    >>> cells, classes = torch.ones(1, 1, 1, 2) > 0, torch.ones(1, 2) > 0
    >>> ReleasedTransport()(torch.full((1, 2, 1, 2), 0.5), cells, classes).tolist()  # `Transport` gives 1 everywhere
    [[[[0.0, 0.0]], [[0.0, 0.0]]]]
    """

    epsilon: Annotated[float, Ge(0.012), Le(10)] = 0.1  # below that its kernel is 0

    def __call__(self, scores: Tensor, valid: Tensor, present: Tensor, mass: Tensor | None = None) -> Tensor:
        """As `dhr.rebalancing.transport.Transport`, with uniform marginals: `mass` is not read."""
        result = torch.zeros_like(scores)
        for number, (image, cells, classes) in enumerate(zip(scores, valid[:, 0], present, strict=True)):
            if not bool(classes.any()) or not bool(cells.any()):
                continue
            plan = self.plan(image[classes][:, cells])
            low, high = plan.amin(1, keepdim=True), plan.amax(1, keepdim=True)
            scaled = torch.ones_like(plan) if len(plan) == 1 else (plan - low) / (high - low).clamp_min(FLOOR)
            result[number][classes[:, None, None] & cells] = scaled.flatten()
        return result

    def plan(self, scores: Tensor) -> Tensor:
        """(M,N) scores -> (M,N) plan, which need not have the marginals it is meant to have."""
        kernel = torch.exp((scores - 1) / self.epsilon)
        count, cells = kernel.shape
        row, column = kernel.new_ones(cells), kernel.new_ones(count)
        for _ in range(MOST_ITERATIONS):
            before = row
            row = (1 / cells) / (column @ kernel)
            column = (1 / count) / (kernel @ row)
            if float((row - before).abs().mean()) < STOP:
                break
        return column[:, None] * kernel * row

    def residual(self, scores: Tensor, valid: Tensor, present: Tensor) -> Tensor:
        """As `dhr.rebalancing.transport.Transport.residual`: (B) error of the cells' marginal."""
        plans = torch.zeros_like(scores)
        for plan, image, cells, classes in zip(plans, scores, valid[:, 0], present, strict=True):
            if bool(classes.any()) and bool(cells.any()):
                plan[classes[:, None, None] & cells] = self.plan(image[classes][:, cells]).flatten()
        return cell_error(plans.flatten(2), valid)


@dataclass(frozen=True)
class ReleasedSeeds:
    """Seeds from a CRF among the tags alone; the channel "none of these" is added to its result.

    So a crop with one tag becomes that class everywhere.

    Attributes:
        transport: f_OT.
    """

    transport: ReleasedTransport

    def __call__(self, view: View, field: Field) -> Tensor:
        """Seeded mask (B,H,W): the winning tag in the valid box, the WSS label elsewhere or where no tag wins."""
        cams, on, tagged = competing(view)
        several = (tagged.sum(1) >= 2)[:, None, None, None]
        cams = torch.where(several, cams * self.transport(cams, on, tagged), cams)
        wide = functional.interpolate(cams, size=view.pixels.shape[-2:], mode="nearest")
        marginals = field(wide, tagged)
        winning = fast_argmax(torch.cat([1 - marginals.amax(1, keepdim=True), marginals], 1), dim=1)
        written = (winning > 0) & view.valid[:, 0] & tagged.any(1)[:, None, None]
        return torch.where(written, view.slots.to_classes(winning), view.wss_mask)


@dataclass(frozen=True)
class MajorityShares:
    """A cell belongs wholly to one class, or to none where most of its pixels belong to none.

    Small classes can lose every cell, and their prototype with it.

    >>> mask = torch.tensor([[[0, 0, 2, 255], [0, 1, 255, 255]]])  # two cells of 2x2 pixels
    >>> MajorityShares()(torch.stack([mask == 0, mask == 1, mask == 2], 1), (1, 2)).tolist()
    [[[[1.0, 0.0]], [[0.0, 0.0]], [[0.0, 0.0]]]]
    """

    def __call__(self, pixels: Tensor, grid: tuple[int, int]) -> Tensor:
        """(B,M,H,W) bool -> (B,M,h,w) 0/1, the class that covers most of the cell, unless 255 covers more."""
        rivals = torch.cat([pixels, ~pixels.any(1, keepdim=True)], 1)
        area = functional.adaptive_avg_pool2d(rivals.float(), grid)
        return torch.zeros_like(area).scatter(1, fast_argmax(area, dim=1)[:, None], 1.0)[:, :-1]


@dataclass(frozen=True)
class UpperTriangleGroups:
    """One group for each row of the upper triangle: groups overlap and depend on the order of the classes.

    Attributes:
        tau: closeness in [0,1] above which two classes are confusable.

    >>> closeness = torch.tensor([[[1.0, 0.9, 0.1], [0.9, 1.0, 0.9], [0.1, 0.9, 1.0]]])
    >>> UpperTriangleGroups(tau=0.8)(closeness, torch.ones(1, 3) > 0).int().tolist()  # class 1 is in two groups
    [[[1, 1, 0], [0, 1, 1], [0, 0, 0]]]
    """

    tau: UnitInterval = 0.8

    def __call__(self, closeness: Tensor, present: Tensor) -> Tensor:
        """(B,M,M) bool, row i the classes j >= i that are close to i; rows of one class are empty."""
        both = present[:, :, None] & present[:, None, :]
        close = torch.triu((closeness > self.tau) & both)
        return close & (close.sum(2, keepdim=True) >= 2)


@dataclass(frozen=True)
class ReleasedIntraClass:
    """Groups one after the other: where they overlap, a class is shared out several times.

    Attributes:
        groups: finds the groups, which may overlap.
        transport: f_OT.
    """

    groups: UpperTriangleGroups
    transport: ReleasedTransport

    def __call__(self, view: View, heatmaps: Heatmaps) -> Heatmaps:
        """heatmap[group] <- heatmap[group] * f_OT(H_ws[group]), group by group."""
        values, own = heatmaps.values, own_similarity(view, heatmaps)
        for group in self.groups(heatmaps.closeness, heatmaps.present).unbind(1):
            if bool(group.any()):
                shared_out = values * self.transport(own, view.cells, group)
                values = torch.where(group[:, :, None, None], shared_out, values)
        return replace(heatmaps, values=values)
