"""Weight-free features of colour and texture, for the toy set, for tests, and wherever no pretrained model is."""

import math
from typing import Annotated

import torch
from annotated_types import Ge, Le, MultipleOf
from torch import Tensor
from torch.nn import functional

from dhr.core.colour import MEAN, STD
from dhr.core.ranges import SmallCount
from dhr.uss.frozen import Frozen


class ColourExtractor(Frozen):
    """Random Fourier features (Rahimi and Recht, 2007) of the local colour and texture.

    The cosine of two feature vectors is close to exp(-d^2 / 2), d being the distance of two descriptors measured in
    `bandwidth`: 1 for like surfaces, 0 for unlike ones. The frequencies come from a fixed seed, so that features
    made today and tomorrow agree.

    Args:
        patch_size: pixels per cell.
        dim: number of channels, even.
        bandwidth: distance in chromaticity at which similarity falls to 0.6.
        texture: weight of the texture measures against chromaticity.
    """

    def __init__(
        self,
        *,
        patch_size: SmallCount = 4,
        dim: Annotated[int, Ge(2), Le(16384), MultipleOf(2)] = 64,
        bandwidth: Annotated[float, Ge(0.001), Le(1000)] = 0.1,
        texture: Annotated[float, Ge(0), Le(1000)] = 0.3,
        light: Annotated[float, Ge(0), Le(1000)] = 0.2,
    ) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.dim = dim
        self.texture = texture
        self.light = light
        self.mean: Tensor
        self.std: Tensor
        generator = torch.Generator().manual_seed(0)
        frequencies = torch.randn(dim // 2, 6, generator=generator) / bandwidth
        self.register_buffer("frequencies", frequencies)
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None])
        self.register_buffer("std", torch.tensor(STD)[:, None, None])

    @torch.no_grad()
    def forward(self, image: Tensor) -> Tensor:
        """See `dhr.core.extractor.Extractor`; unit vectors per cell."""
        descriptor = self.describe((image * self.std + self.mean).clamp(0, 1))
        phase = torch.einsum("fc,bchw->bfhw", self.frequencies, descriptor)
        return torch.cat([phase.cos(), phase.sin()], 1) / math.sqrt(self.dim // 2)

    def describe(self, colour: Tensor) -> Tensor:
        """(B,3,H,W) RGB in [0,1] -> (B,6,h,w): two chromaticities, lightness, contrast, two edge directions."""
        light = colour.mean(1, keepdim=True)
        red_green = (colour[:, :1] - colour[:, 1:2]) / (light + 0.1)
        blue_yellow = (colour[:, 2:] - (colour[:, :1] + colour[:, 1:2]) / 2) / (light + 0.1)
        mean = self._pool(light)
        contrast = (self._pool(light**2) - mean**2).clamp_min(0).sqrt()
        across = self._pool(functional.pad(light.diff(dim=3).abs(), (0, 1, 0, 0)))
        down = self._pool(functional.pad(light.diff(dim=2).abs(), (0, 0, 0, 1)))
        edges = torch.cat([contrast, across, down], 1) / (mean + 0.1)
        chroma = self._pool(torch.cat([red_green, blue_yellow], 1))
        return torch.cat([0.25 * chroma, self.light * mean, self.texture * edges], 1)

    def _pool(self, values: Tensor) -> Tensor:
        """Mean over a window of two patches around each cell."""
        size, before = 2 * self.patch_size, self.patch_size // 2
        padding = (before, self.patch_size - before)  # together one patch, so that an odd patch loses no cell
        padded = functional.pad(values, (*padding, *padding), mode="replicate")
        return functional.avg_pool2d(padded, size, self.patch_size)
