"""ClassMix (Olsson et al. 2021) within a batch: some objects of one crop are pasted onto the next one."""

from dataclasses import dataclass

import torch
from torch import Tensor

from dhr.core.labels import IGNORE


@dataclass(frozen=True)
class Mixed:
    """Crops with the objects of others in them, and all that is known of them.

    Attributes:
        image: (B,3,H,W) normalised.
        labels: (B,H,W) int64 class indices and IGNORE.
        maps: (B,T,h,w).
        tags: (B,T) 0/1.
    """

    image: Tensor
    labels: Tensor
    maps: Tensor
    tags: Tensor


def class_mix(image: Tensor, labels: Tensor, maps: Tensor, tags: Tensor, *, valid: Tensor, first_tag: int) -> Mixed:
    """Pastes half of the objects of each crop, at least one, onto the crop before it; the first goes onto the last.

    An object is all that one tag labels. Pixels without a label, and background, are never pasted. A tag of a crop goes
    where labels showed it and none is left; a tag that no label showed stays, as it may be there all the same.

    Args:
        image: (B,3,H,W).
        labels: (B,H,W) int64 class indices and IGNORE.
        maps: (B,T,h,w) of the tags; a cell is pasted whose centre is.
        tags: (B,T) 0/1.
        valid: (B,H,W) bool, where a crop shows image: nothing is pasted beside it.
        first_tag: class index of tag 0.
    """
    last = first_tag + tags.shape[1]
    brought = labels.roll(-1, 0)
    chosen = half_of(_seen(brought)[:, first_tag:last])
    every = torch.zeros(len(tags), IGNORE + 1, dtype=torch.bool, device=tags.device)
    every[:, first_tag:last] = chosen
    pasted = torch.gather(every, 1, brought.flatten(1)).view_as(brought) & valid
    mixed = torch.where(pasted, brought, labels)
    before, after = (_seen(each)[:, first_tag:last] for each in (labels, mixed))
    cells = torch.nn.functional.interpolate(pasted[:, None].float(), size=maps.shape[-2:], mode="nearest-exact") > 0
    return Mixed(
        image=torch.where(pasted[:, None], image.roll(-1, 0), image),
        labels=mixed,
        maps=torch.where(cells, maps.roll(-1, 0) * chosen[:, :, None, None], maps),
        tags=(after | ((tags > 0) & ~before)).to(tags.dtype),
    )


def half_of(seen: Tensor) -> Tensor:
    """(B,T) bool: half of the true ones of each row, rounded up, drawn at random."""
    order = torch.rand(seen.shape, device=seen.device).masked_fill(~seen, 2.0).argsort(1).argsort(1)
    return seen & (order < (seen.sum(1, keepdim=True) + 1) // 2)


def _seen(labels: Tensor) -> Tensor:
    """(B,256) bool: which labels (B,H,W) have a pixel."""
    seen = torch.zeros(len(labels), IGNORE + 1, dtype=torch.bool, device=labels.device)
    return seen.scatter_(1, labels.flatten(1), True)
