"""Which tokens of an image a step uses: drawn by the key of its crop, whatever the rank or the batch."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional


def one_per_window(keys: Tensor, grid: tuple[int, int], window: int) -> Tensor:
    """One random cell of every window x window cells; cells left over at the right and below are never drawn.

    Args:
        keys: (B) int64, one per crop.
        grid: cells (h,w) of the maps.
        window: side; a smaller grid is one window across.

    Returns:
        (B,n) positions in the flattened grid, n = floor(h / window) * floor(w / window).
    """
    high, wide = min(window, grid[0]), min(window, grid[1])
    rows, columns = grid[0] // high, grid[1] // wide
    corners = torch.arange(rows)[:, None] * high * grid[1] + torch.arange(columns) * wide
    inside = _drawn(keys, lambda generator: torch.randint(high * wide, (rows * columns,), generator=generator))
    return corners.flatten().to(keys.device) + inside // wide * grid[1] + inside % wide


def at_cells(maps: Tensor, cells: Tensor) -> Tensor:
    """Vectors of (B,D,h,w) at flat positions (B,n), as (B,n,D)."""
    return maps.flatten(2).gather(2, cells[:, None].expand(-1, maps.shape[1], -1)).transpose(1, 2)


def random_points(keys: Tensor, side: int) -> Tensor:
    """(B,side,side,2) random places in [-1,1], x before y, for `at_points`."""
    return _drawn(keys, lambda generator: torch.rand(side, side, 2, generator=generator) * 2 - 1)


def at_points(maps: Tensor, points: Tensor) -> Tensor:
    """Bilinear vectors of (B,D,h,w) at places (B,s,s,2), corners being -1 and 1, as (B,s*s,D)."""
    values = functional.grid_sample(maps, points.to(maps), padding_mode="border", align_corners=True)
    return values.flatten(2).transpose(1, 2)


def _drawn(keys: Tensor, draw: Callable[[torch.Generator], Tensor]) -> Tensor:
    """The results of `draw` with a generator per key, stacked."""
    drawn = [draw(torch.Generator().manual_seed(key)) for key in keys.tolist()]
    return torch.stack(drawn).to(keys.device)
