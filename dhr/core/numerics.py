"""Small risky operations, each once, with its edge cases decided."""

import torch
from torch import Tensor
from torch.nn import functional

CONSTANT = 1e-5  # of the largest magnitude: a map that varies by less is taken for constant


def resize(values: Tensor, size: tuple[int, int], *, align_corners: bool = False) -> Tensor:
    """Bilinear resize of (B,C,h,w) to (B,C,*size); the input itself where the size is right already."""
    if tuple(values.shape[-2:]) == tuple(size):
        return values
    return functional.interpolate(values, size=size, mode="bilinear", align_corners=align_corners)


def at_places(values: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Bilinear values of (B,C,h,w) at the crossings of rows (H) and columns (W), in cells, 0 being the first centre.

    (B,C,H,W); beyond the outermost centres what is there.
    """
    for dim, places in ((-2, rows), (-1, columns)):
        last = values.shape[dim] - 1
        places = places.clamp(0, last)
        before = places.long()
        share = (places - before).to(values.dtype)
        share = share[:, None] if dim == -2 else share
        after = values.index_select(dim, (before + 1).clamp_max(last))
        values = torch.lerp(values.index_select(dim, before), after, share)
    return values


def resize_labels(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Nearest resize of an integer mask (B,H,W), sampled at cell centres."""
    resized = functional.interpolate(labels[:, None].float(), size=size, mode="nearest-exact")
    return resized[:, 0].to(labels.dtype)


def to_unit_range(values: Tensor, where: Tensor) -> Tensor:
    """Min-max scales each map of (B,M,h,w) to [0,1] over the cells `where` (B,1,h,w) or (B,M,h,w); 0 elsewhere.

    A constant map carries no preference: it becomes 1 on its cells. A map without a cell is 0. The constant test
    is relative to the largest magnitude, so transport plans of size 1/(NK) scale like anything else; their logarithm
    is near -10, whose rounding alone makes a plan of equal maps differ by 2e-6 of itself.
    """
    where = where.expand_as(values)
    low = values.masked_fill(~where, torch.inf).amin((-2, -1), keepdim=True)
    high = values.masked_fill(~where, -torch.inf).amax((-2, -1), keepdim=True)
    span = high - low
    constant = span <= CONSTANT * torch.maximum(high.abs(), low.abs())
    scaled = torch.where(constant, torch.ones_like(values), (values - low) / span.masked_fill(constant, 1.0))
    return scaled.masked_fill(~where, 0.0).clamp(0.0, 1.0)


def unit_vectors(values: Tensor, *, dim: int) -> Tensor:
    """Divides by the Euclidean norm along `dim`; zero vectors stay zero."""
    norm = values.norm(dim=dim, keepdim=True)
    return values / norm.masked_fill(norm == 0, 1.0)


def winner(values: Tensor, *, dim: int) -> Tensor:
    """Index of the largest value along `dim`, of the first one where several are equal; `dim` is gone.

    What `argmax` says, but thirty times faster on a CPU where `dim` is not the innermost one.
    """
    return values.max(dim).indices


def masked_mean(values: Tensor, where: Tensor) -> Tensor:
    """Mean of (B,C,h,w) over the cells `where` (B,1,h,w), as (B,C); 0 where there is no cell."""
    total = (values * where).sum((-2, -1))
    return total / where.sum((-2, -1)).clamp_min(1)
