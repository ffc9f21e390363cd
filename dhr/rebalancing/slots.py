"""Classes of one image in a compact row: a batch needs as many channels as its richest image, not as the data set."""

from dataclasses import dataclass

import torch
from torch import Tensor

from dhr.core.labels import IGNORE


@dataclass(frozen=True)
class Slots:
    """Slot 0 is the background, or "none of these" where the data set has none; the others are the tags.

    Attributes:
        index: (B,M) class index of each slot, IGNORE where a slot means no class.
        tag: (B,M-1) tag index of slots 1.., 0 where a slot is empty.
        present: (B,M) bool, slots that hold a class; slot 0 only where the data set has a background.

    >>> slots = Slots.of(torch.tensor([[0, 1, 0, 1], [0, 0, 1, 0]]), first_tag=1, most_tags=2)
    >>> slots.index  # the second image has one tag only: its last slot is empty
    tensor([[  0,   2,   4],
            [  0,   3, 255]])
    >>> slots.to_classes(torch.tensor([[[0, 2]], [[1, 0]]])).tolist()
    [[[0, 4]], [[3, 0]]]
    """

    index: Tensor
    tag: Tensor
    present: Tensor

    @classmethod
    def of(cls, tags: Tensor, *, first_tag: int, most_tags: int) -> "Slots":
        """Slots of a (B,T) 0/1 tag matrix.

        Args:
            tags: of the images.
            first_tag: class index of tag 0: 1 with background, else 0.
            most_tags: largest number of tags of an image; an argument, because reading it from the matrix would wait
                for the device.
        """
        wanted = tags > 0
        order = torch.argsort(wanted.to(torch.int8), dim=1, descending=True, stable=True)[:, : max(most_tags, 1)]
        filled = torch.gather(wanted, 1, order)
        tag = order * filled
        index = torch.where(filled, order + first_tag, IGNORE)
        background = index.new_full((len(tags), 1), 0 if first_tag else IGNORE)
        index = torch.cat([background, index], 1)
        return cls(index=index, tag=tag, present=index != IGNORE)

    def of_tags(self, maps: Tensor) -> Tensor:
        """Picks the slots' maps from (B,T,h,w): (B,M-1,h,w); empty slots are 0."""
        picked = torch.gather(maps, 1, self.tag[:, :, None, None].expand(-1, -1, *maps.shape[2:]))
        return picked * self.present[:, 1:, None, None]

    def of_classes(self, maps: Tensor) -> Tensor:
        """Picks the slots' maps from (B,K,h,w), one map per class: (B,M,h,w); slots that hold no class are 0."""
        index = self.index.masked_fill(~self.present, 0)
        picked = torch.gather(maps, 1, index[:, :, None, None].expand(-1, -1, *maps.shape[2:]))
        return picked * self.present[:, :, None, None]

    def one_hot(self, mask: Tensor) -> Tensor:
        """(B,H,W) class indices -> (B,M,H,W) bool; labels that no slot holds, IGNORE among them, are in no map."""
        return (mask[:, None] == self.index[:, :, None, None]) & self.present[:, :, None, None]

    def to_classes(self, winner: Tensor) -> Tensor:
        """(B,H,W) slot numbers -> class indices of the same shape."""
        return torch.gather(self.index, 1, winner.flatten(1)).view_as(winner)
