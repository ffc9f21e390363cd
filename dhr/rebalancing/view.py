"""What the rebalancer sees of a batch, and which of an image's tags are believed to be in the crop."""

from dataclasses import dataclass, replace
from typing import Annotated, Protocol

import torch
from annotated_types import Ge, Le
from torch import Tensor
from torch.nn import functional

from dhr.core.numerics import fast_argmax, masked_mean, resize
from dhr.core.ranges import UnitInterval
from dhr.core.sample import Batch, NetworkOutput
from dhr.rebalancing.slots import Slots


@dataclass(frozen=True)
class View:
    """A batch in terms of slots.

    Attributes:
        slots: the classes that each image can hold.
        cams: (B,M-1,h,w) signed scores of the slots' tags, on the grid of the CAMs.
        probabilities: (B,M,h,w) of the slots' classes, on the grid of the logits; with those of all other classes of
            the data set they sum to 1.
        uss_features: (B,D,h,w).
        wss_features: C4 and C5, (B,D,h,w) each, on the grid of the USS features.
        wss_mask: (B,H,W) int64.
        pixels: (B,3,H,W) uint8.
        valid: (B,1,H,W) bool, pixels that show image.
        cells: (B,1,h,w) bool, USS cells whose centre lies on image.
        whole: (B,) bool, crops that show the whole image.
    """

    slots: Slots
    cams: Tensor
    probabilities: Tensor
    uss_features: Tensor
    wss_features: tuple[Tensor, Tensor]
    wss_mask: Tensor
    pixels: Tensor
    valid: Tensor
    cells: Tensor
    whole: Tensor

    @classmethod
    def of(cls, batch: Batch, output: NetworkOutput, *, first_tag: int) -> "View":
        """The view of `batch` and of what the network says of it; `first_tag` is the class index of tag 0.

        Raises:
            ValueError: the batch has no USS features.
        """
        if batch.uss_features is None:
            raise ValueError("rebalancing needs USS features in the batch")
        grid = (batch.uss_features.shape[-2], batch.uss_features.shape[-1])
        slots = Slots.of(batch.tags, first_tag=first_tag, most_tags=batch.most_tags)
        c4, c5 = (resize(features, grid) for features in output.features)
        return cls(
            slots=slots,
            cams=slots.of_tags(output.cams),
            probabilities=slots.of_classes(output.logits.softmax(1)),
            uss_features=batch.uss_features,
            wss_features=(c4, c5),
            wss_mask=batch.wss_mask.long(),
            pixels=batch.pixels,
            valid=batch.valid[:, None],
            cells=batch.cells(grid)[:, None],
            whole=batch.whole,
        )

    def valid_on(self, grid: tuple[int, int]) -> Tensor:
        """(B,1,h,w) bool: cells of `grid` that touch image. A narrow box keeps at least one of them."""
        return functional.adaptive_max_pool2d(self.valid.float(), grid) > 0

    def answer(self, size: tuple[int, int]) -> Tensor:
        """(B,M,H,W): the network's probabilities, resized to `size` and scaled so that they sum to 1 over the slots.

        Slots that do not take part get 0. Where the network gives none of the others any mass, all of them get the
        same.
        """
        taking_part = self.slots.present[:, :, None, None]
        mass = (resize(self.probabilities, size) + torch.finfo(torch.float32).tiny) * taking_part
        return mass / mass.sum(1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)

    def answered(self) -> Tensor:
        """(B,H,W): the likeliest class of every pixel for the network, among those that take part."""
        size = (self.pixels.shape[-2], self.pixels.shape[-1])
        return self.slots.to_classes(fast_argmax(self.answer(size), dim=1))

    def shown(self, mask: Tensor) -> Tensor:
        """(B,M,H,W) bool: pixels of each slot in `mask` (B,H,W) inside the valid box."""
        return self.slots.one_hot(mask) & self.valid


class TagEvidence(Protocol):
    """Decides which tags of an image take part in its crop."""

    def __call__(self, view: View) -> View:
        """The view with the slots of unbelieved tags emptied."""
        ...


@dataclass(frozen=True)
class AllTags:
    """Takes every tag of the image to be in the crop, as the released code does."""

    def __call__(self, view: View) -> View:
        """The view as it is."""
        return view


@dataclass(frozen=True)
class CropEvidence:
    """A tag counts if the WSS mask shows it in the crop or if the classifier finds it there.

    A tag is a fact about the image, so where the crop shows the whole image every tag counts. In a part of it, a tag
    without an object would win a share of the pixels from noise alone.

    Attributes:
        minimum_pixels: how many pixels of the WSS mask prove a tag.
        minimum_share: how many prove it as a share, in [0,1], of the part that shows image; the larger number counts.
        minimum_score: pooled CAM, a logit, that proves a tag; 0 is a probability of one half.
    """

    minimum_pixels: Annotated[int, Ge(0), Le(1_000_000)] = 4
    minimum_share: UnitInterval = 0.00025
    minimum_score: Annotated[float, Ge(-1000), Le(1000)] = 0.0

    def __call__(self, view: View) -> View:
        """The view with the slots of unproven tags emptied; the background always takes part."""
        grid = (view.cams.shape[-2], view.cams.shape[-1])
        shown = view.shown(view.wss_mask).sum((-2, -1))[:, 1:]
        needed = (self.minimum_share * view.valid.sum((-2, -1))).clamp_min(self.minimum_pixels)
        in_cams = masked_mean(view.cams, view.valid_on(grid)) > self.minimum_score
        proven = (shown >= needed) | in_cams | view.whole[:, None]
        background = torch.ones_like(view.slots.present[:, :1])
        believed = view.slots.present & torch.cat([background, proven], 1)
        return replace(view, slots=replace(view.slots, present=believed))
