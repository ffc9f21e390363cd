"""Training augmentation: one random window per crop, and the same window for image, mask and features."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from dhr.dataset.classes import IGNORE
from dhr.sample import Window

MEAN = (0.485, 0.456, 0.406)  # of ImageNet, RGB in [0,1]
STD = (0.229, 0.224, 0.225)


def normalise(pixels: Tensor) -> Tensor:
    """(...,3,H,W) uint8 RGB -> float with ImageNet mean 0 and deviation 1."""
    return functional.normalize(functional.to_dtype(pixels, torch.float32, scale=True), list(MEAN), list(STD))


@contextmanager
def keyed_random(*key: object) -> Iterator[None]:
    """Random numbers inside the block depend on `key` alone: not on order, worker, rank or what ran before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(zlib.crc32(repr(key).encode()))
        yield


@dataclass(frozen=True)
class Crop:
    """A cut image: (3,H,W) float normalised, the same as uint8 RGB, (H,W) uint8 mask, and where it was cut."""

    image: Tensor
    pixels: Tensor
    mask: Tensor
    window: Window


@dataclass(frozen=True)
class TrainTransform:
    """Resize, flip, colour jitter, random crop with padding at a random place.

    Attributes:
        crop_size: side of the square canvas, pixels.
        long_side: range of the longer image side after the resize, pixels.
        flip: probability of a left-right flip.
        jitter: strengths of brightness, contrast, saturation and hue jitter.
    """

    crop_size: int
    long_side: tuple[int, int]
    flip: float
    jitter: tuple[float, float, float, float]

    def __call__(self, pixels: Tensor, mask: Tensor) -> Crop:
        """Cuts (3,H,W) uint8 RGB and a (H,W) uint8 mask of the same size, with torch's global random numbers."""
        window = self.draw((mask.shape[-2], mask.shape[-1]))
        size = list(window.scaled)
        resized = functional.resize(pixels, size, functional.InterpolationMode.BICUBIC, antialias=True)
        labels = functional.resize(mask[None], size, functional.InterpolationMode.NEAREST_EXACT)[0]
        jittered = v2.ColorJitter(*self.jitter)(resized) if any(self.jitter) else resized
        return Crop(
            image=window.paste(normalise(jittered), 0.0),
            pixels=window.paste(jittered, 0),
            mask=window.paste(labels, IGNORE),
            window=window,
        )

    def draw(self, size: tuple[int, int]) -> Window:
        """A random window for an image of `size` (height, width)."""
        factor = _between(*self.long_side) / max(size)
        scaled = (max(round(size[0] * factor), 1), max(round(size[1] * factor), 1))
        flip = bool(torch.rand(()) < self.flip)
        tops = [_cut(length, self.crop_size) for length in scaled]
        return Window(
            scaled=scaled,
            flip=flip,
            source=(tops[0][0], tops[1][0], tops[0][1], tops[1][1]),
            place=(tops[0][2], tops[1][2]),
            canvas=(self.crop_size, self.crop_size),
        )


def _between(low: int, high: int) -> int:
    return int(torch.randint(low, high + 1, ()))


def _cut(length: int, canvas: int) -> tuple[int, int, int]:
    """Along one axis: where the source starts, how long it is, where it is put."""
    if length >= canvas:
        return _between(0, length - canvas), canvas, 0
    return 0, length, _between(0, canvas - length)
