"""What every model of unsupervised features offers, and its features over several scales."""

from typing import Protocol

import torch
from torch import Tensor

from dhr.numerics import resize


class Extractor(Protocol):
    """A frozen, deterministic map from an image to dense features.

    Attributes:
        patch_size: pixels per cell; images are resized to multiples of it.
        dim: number of feature channels.
    """

    patch_size: int
    dim: int

    def __call__(self, image: Tensor) -> Tensor:
        """(B,3,H,W) normalised, sides multiples of `patch_size` -> (B,dim,H/patch_size,W/patch_size)."""
        ...


def multi_scale(extractor: Extractor, image: Tensor, *, scales: tuple[float, ...], flip: bool) -> Tensor:
    """Features of one image, averaged in float32 over scales and flips on the grid of the largest scale.

    Each side is rounded up to a multiple of the patch. The image and its mirror image are one batch.

    Args:
        extractor: the model.
        image: (3,H,W) normalised.
        scales: factors on the image size.
        flip: whether the mirrored image is averaged in.

    Returns:
        (D,h,w) with h = ceil(max(scales) * H / patch_size) and w alike.
    """
    size, patch = (image.shape[-2], image.shape[-1]), extractor.patch_size
    finest = grid_of(size, scale=max(scales), patch=patch)
    maps = [_features(extractor, image, grid_of(size, scale=scale, patch=patch), flip=flip) for scale in scales]
    resized = [resize(each, finest)[0] for each in maps]
    return sum(resized[1:], resized[0]) / len(resized)


def grid_of(size: tuple[int, int], *, scale: float, patch: int) -> tuple[int, int]:
    """Cells (h,w) of an image of `size` (height, width) that is resized by `scale` and up to multiples of `patch`."""
    height, width = (-(-round(side * scale) // patch) for side in size)
    return max(height, 1), max(width, 1)


def _features(extractor: Extractor, image: Tensor, grid: tuple[int, int], *, flip: bool) -> Tensor:
    """(1,D,h,w) mean of the image and its mirror image, at the scale that gives `grid`."""
    view = resize(image[None], (grid[0] * extractor.patch_size, grid[1] * extractor.patch_size))
    if not flip:
        return extractor(view).float()
    straight, mirrored = extractor(torch.cat([view, view.flip(-1)])).float().split(1)
    return (straight + mirrored.flip(-1)) / 2
