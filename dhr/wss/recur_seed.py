"""RecurSeed of RS+EPM: a CAM learns its own refined map, and the decoder the certain part of it."""

from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from dhr.core.labels import IGNORE
from dhr.core.numerics import fast_argmax, resize, resize_labels
from dhr.core.sample import Batch, NetworkOutput
from dhr.crf.interface import Field
from dhr.crf.pamr import Pamr
from dhr.rebalancing.slots import Slots
from dhr.wss.self_correlation import SelfCorrelation


class Look:
    """A batch and what the network says of it, in terms of slots, and the PAMR of these crops.

    Args:
        batch: the crops.
        output: of the network, without gradients.
        first_tag: class index of tag 0.
        stride: pixels of a crop along each side of a pixel that PAMR sees.
    """

    def __init__(self, batch: Batch, output: NetworkOutput, *, first_tag: int, stride: int) -> None:
        self.batch, self.output, self.first_tag = batch, output, first_tag
        self.slots = Slots.of(batch.tags, first_tag=first_tag, most_tags=batch.most_tags)
        height, width = self.size = (batch.pixels.shape[-2], batch.pixels.shape[-1])
        self.grid = (max(height // stride, 1), max(width // stride, 1))

    @cached_property
    def field(self) -> Field:
        """PAMR with 8 neighbours at distances 1, 2, 4, 8, 12, 24 and 10 iterations, as published, on smaller crops."""
        small = functional.adaptive_avg_pool2d(self.batch.pixels.float(), self.grid)
        return Pamr().on(small.round().to(torch.uint8), self.batch.cells(self.grid))

    def seeds(self, correlation: SelfCorrelation) -> Tensor:
        """The maps M_rs (B,M-1,h,w) in [0,1] of the slots' tags, on the pixels of PAMR: CAM -> SCG -> PAMR.

        The mean of the self-correlation maps of C4 and C5, both on the cells of C5.
        """
        c4, c5 = self.output.features
        size = (c5.shape[-2], c5.shape[-1])
        on_image = self.batch.cells(size)
        cams = unit_maps(resize(self.slots.of_tags(self.output.cams), size), on_image)
        of_c4, of_c5 = (correlation.maps(cams, resize(each, size), on_image) for each in (c4, c5))
        return smoothed(self.field, resize((of_c4 + of_c5) / 2, self.grid))

    def certain(self, seeds: Tensor, *, foreground: float, background: float) -> Tensor:
        """Labels (B,H,W) of the pixels that the maps are sure of, IGNORE elsewhere.

        The tag with the largest value where that is at least `foreground`; background where it is at most `background`.
        Without a background class the latter are not certain of anything.
        """
        top, winner = resize(seeds, self.size).max(1)
        labels = self.slots.to_classes(winner + 1).masked_fill(top < foreground, IGNORE)
        if self.first_tag:
            labels = labels.masked_fill(top <= background, 0)
        return labels.masked_fill(~self.batch.valid, IGNORE)

    def edge_predicted(self, certainty: float) -> Tensor:
        """Labels (B,H,W) from the decoder: soft-max of the slots' classes -> PAMR -> IGNORE on uncertain edges.

        Edges are uncertain where no class has at least `certainty`: PAMR mixes both sides of an edge that the decoder
        draws where the image has none.
        """
        share = self.slots.of_classes(self.output.logits.softmax(1))
        refined = resize(self.field(resize(share, self.grid), self.slots.present), self.size)
        labels = self.slots.to_classes(fast_argmax(refined, dim=1))
        return labels.masked_fill((refined.amax(1) < certainty) | ~self.batch.valid, IGNORE)

    def on_cams(self, seeds: Tensor) -> Tensor:
        """The maps of the slots as those of all tags (B,T,h,w), on the cells of the CAMs; 0 for tags not there."""
        cams, size = self.output.cams, (self.output.cams.shape[-2], self.output.cams.shape[-1])
        index = self.slots.tag[:, :, None, None].expand(-1, -1, *size)  # an empty slot adds 0 to tag 0
        seeds = functional.adaptive_avg_pool2d(seeds, size) * self.slots.present[:, 1:, None, None]
        return torch.zeros_like(cams).scatter_add_(1, index, seeds)


def unit_maps(maps: Tensor, on_image: Tensor) -> Tensor:
    """Maps (B,M,h,w) -> the positive part, divided by its maximum on the image (B,h,w), which learns nothing itself."""
    positive = maps.float().relu() * on_image[:, None]
    top = positive.detach().amax((-2, -1), keepdim=True)
    return positive / top.masked_fill(top == 0, 1.0)


def smoothed(field: Field, maps: Tensor) -> Tensor:
    """Maps (B,M,h,w) in [0,1] after PAMR, each for itself, 0 off the image.

    PAMR averages pixels of distributions: M-ths of the maps and what they leave of 1 are one.
    """
    parts = maps / maps.shape[1]
    rest = (1 - parts.sum(1, keepdim=True)).clamp_min(0)
    everywhere = torch.ones(len(maps), maps.shape[1] + 1, dtype=torch.bool, device=maps.device)
    return field(torch.cat([rest, parts], 1), everywhere)[:, 1:] * maps.shape[1]


def reconstruction_loss(cams: Tensor, seeds: Tensor, valid: Tensor, tags: Tensor) -> Tensor:
    """Mean distance of the CAMs from the maps that they shall become, all divided by their maxima.

    PAMR lowers peaks. CAMs that learnt the lower maps as they are would shrink, and the next maps with them: within
    thirty steps on photographs nothing but their peaks is left.

    Args:
        cams: (B,T,h,w) signed scores.
        seeds: (B,T,h,w) in [0,1], without gradient.
        valid: (B,H,W) bool, where the crop shows image.
        tags: (B,T) 0/1; only the maps of these count.
    """
    cells = resize_labels(valid, (cams.shape[-2], cams.shape[-1]))
    counted = cells[:, None] & (tags > 0)[:, :, None, None]
    distance = (unit_maps(cams, cells) - unit_maps(seeds, cells)).abs() * counted
    return distance.sum() / counted.sum().clamp_min(1)
