"""Pixel-adaptive mask refinement (PAMR, Araslanov and Roth 2020): pixels take the mean of like neighbours."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import torch
from annotated_types import Ge, Le, MinLen
from torch import Tensor
from torch.nn import functional

from dhr.core.ranges import ONCE
from dhr.crf.interface import normalised

Dilations = Annotated[tuple[Annotated[int, Ge(1), Le(1000)], ...], MinLen(1), ONCE]
DIRECTIONS = tuple((down, right) for down in (-1, 0, 1) for right in (-1, 0, 1) if (down, right) != (0, 0))
SMALLEST = 1e-8  # added to the deviation of a flat neighbourhood
FAR = -1e30  # logit of a neighbour off the image: its share is exactly 0


@dataclass(frozen=True)
class Pamr:
    """A cheap alternative to the dense CRF: a few steps of local averaging, no pairwise terms over the whole image.

    The share of neighbour j in pixel i is the soft-max, over all neighbours of i, of

        -mean over channels of |I_i - I_j| / (softness * deviation of I around i)

    The paper writes the squared deviation; its released code has this one with softness .1, which is the default here.
    A neighbour off the image takes no part (the release repeats the border); a pixel without neighbours stays as it is.

    Attributes:
        iterations: steps of averaging.
        dilations: distances, in pixels, of the eight neighbours each.
        softness: the larger, the more unlike neighbours count.
    """

    iterations: Annotated[int, Ge(0), Le(1000)] = 10
    dilations: Dilations = (1, 2, 4, 8, 12, 24)
    softness: Annotated[float, Ge(0.001), Le(1000)] = 0.1

    def __post_init__(self) -> None:
        if not self.dilations:
            raise ValueError("dilations=[]: at least one distance is needed")

    @property
    def workers(self) -> int:
        """See `dhr.crf.interface.Crf`."""
        return 0

    def on(self, pixels: Tensor, valid: Tensor) -> "PamrField":
        """See `dhr.crf.interface.Crf`."""
        return PamrField(self, pixels, valid)


@dataclass(frozen=True)
class PamrField:
    """A batch of images; the shares of the neighbours are computed at the first inference and kept."""

    pamr: Pamr
    pixels: Tensor
    valid: Tensor

    def __call__(self, probabilities: Tensor, present: Tensor) -> Tensor:
        """See `dhr.crf.interface.Field`."""
        values = normalised(probabilities.float(), self.valid, present)
        alone = self.shares.sum(1) == 0  # also all that is off the image
        for _ in range(self.pamr.iterations):
            mean = torch.zeros_like(values)
            for share, around in zip(self.shares.unbind(1), self._neighbours(values), strict=True):
                mean.addcmul_(share, around)
            values = torch.where(alone, values, mean.clamp_(0, 1))
        return values.to(probabilities.dtype)

    @cached_property
    def shares(self) -> Tensor:
        """(B,N,1,H,W): share of each of the N neighbours in each pixel; sums are 1 on the image and 0 off it."""
        image, inside = self.pixels.float() / 255, self.valid[:, None].float()
        count, total, squares = inside, image * inside, image.square() * inside
        for shown, around in zip(self._neighbours(inside), self._neighbours(image), strict=True):
            count, total, squares = count + shown, total + around * shown, squares + around.square() * shown
        count = count.clamp_min(1)
        variance = (squares / count - (total / count).square()).clamp_min(0)
        scale = self.pamr.softness * (variance.sqrt() + SMALLEST)
        likeness = torch.stack(
            [
                (-(image - around).abs() / scale).mean(1).masked_fill(shown[:, 0] == 0, FAR)
                for shown, around in zip(self._neighbours(inside), self._neighbours(image), strict=True)
            ],
            dim=1,
        )
        some = (likeness > FAR).any(1, keepdim=True) & self.valid[:, None]
        return (likeness.softmax(1) * some)[:, :, None]

    def _neighbours(self, values: Tensor) -> Iterator[Tensor]:
        """Values (B,C,H,W) of every neighbour, one after the other; 0 off the canvas."""
        height, width = values.shape[-2:]
        reach = max(self.pamr.dilations)
        wide = functional.pad(values, (reach,) * 4)
        for dilation in self.pamr.dilations:
            for down, right in DIRECTIONS:
                top, left = reach + down * dilation, reach + right * dilation
                yield wide[..., top : top + height, left : left + width]
