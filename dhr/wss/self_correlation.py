"""Self-correlation maps (SCG of SPA, Pan et al. 2021): the whole object from the cells that a CAM is sure of."""

from dataclasses import dataclass

import torch
from torch import Tensor

from dhr.core.numerics import to_unit_range, unit_vectors
from dhr.core.ranges import Scale, UnitInterval


@dataclass(frozen=True)
class SelfCorrelation:
    """How alike cells of a feature map are, and what that makes of a class activation map.

    The numbers are those of RS+EPM.

    Attributes:
        first_order: cosines below it count as none.
        second_order: as a multiple of 1 / (h w), the mean share of a cell; shares of two steps below it count as none.
        foreground: a cell whose map has at least this is a cell of the object.
        background: a cell whose map has at most this is none.
    """

    first_order: UnitInterval = 0.50
    second_order: Scale = 0.10
    foreground: UnitInterval = 0.30
    background: UnitInterval = 0.05

    def maps(self, maps: Tensor, features: Tensor, on_image: Tensor) -> Tensor:
        """Maps of the classes as far as the features go with them.

        The mean share of a cell in the cells of the object, min-max scaled, less that in the cells of the background,
        likewise; what is above 0 of it, min-max scaled.

        Args:
            maps: (B,M,h,w) in [0,1], largest value 1, or all 0.
            features: (B,D,h,w).
            on_image: (B,h,w) bool, cells that show image.

        Returns:
            (B,M,h,w) in [0,1]; 0 for a map that is all 0, and off the image.
        """
        shares, where = self.shares(features, on_image), on_image[:, None]

        def drawn_to(cells: Tensor) -> Tensor:
            drawn = torch.matmul((cells & where).flatten(2).to(shares), shares).view_as(maps)
            return to_unit_range(drawn, where) * (drawn > 0)  # a map of no cell is constant, which would make it 1

        with torch.autocast(maps.device.type, enabled=False):
            difference = drawn_to(maps >= self.foreground) - drawn_to(maps <= self.background)
        return to_unit_range(difference.relu(), where) * (difference > 0)

    def shares(self, features: Tensor, on_image: Tensor) -> Tensor:
        """(B,N,N): share of each cell (row) in what each cell (column) is like, directly or by way of a third cell.

        The larger one of two matrices with columns that sum to 1 (or 0): the cosines of at least `first_order`, and the
        square of the same without its diagonal, of which shares of at least `second_order` / N stay.
        """
        with torch.autocast(features.device.type, enabled=False):
            cells = unit_vectors(features.float().flatten(2), dim=1)
            seen = on_image.flatten(1)
            cosines = torch.matmul(cells.mT, cells) * (seen[:, :, None] & seen[:, None, :])
            near = cosines.masked_fill(cosines < self.first_order, 0.0)
            others = _columns(near.masked_fill(torch.eye(near.shape[-1], dtype=torch.bool, device=near.device), 0.0))
            beyond = _columns(torch.matmul(others, others))
        beyond = beyond.masked_fill(beyond < self.second_order / near.shape[-1], 0.0)
        return torch.maximum(_columns(near), beyond)


def _columns(values: Tensor) -> Tensor:
    """Columns of (B,N,N) that sum to 1; a column of zeros stays."""
    total = values.sum(1, keepdim=True)
    return values / total.masked_fill(total == 0, 1.0)
