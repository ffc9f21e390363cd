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


def multi_scale(
    extractor: Extractor, images: Tensor, *, scales: tuple[float, ...], flip: bool, grid: tuple[int, int] | None = None
) -> Tensor:
    """Features of images of one size, averaged in float32 over scales and flips.

    Each side is rounded up to a multiple of the patch. Images and their mirror images are one batch.

    Args:
        extractor: the model.
        images: (B,3,H,W) normalised.
        scales: factors on the image size.
        flip: whether the mirrored images are averaged in.
        grid: cells (h,w) of the result; None for that of the largest scale.

    Returns:
        (B,D,h,w); without `grid`, h = ceil(max(scales) * H / patch_size) and w alike.
    """
    size, patch = (images.shape[-2], images.shape[-1]), extractor.patch_size
    wanted = grid or grid_of(size, scale=max(scales), patch=patch)
    maps = [_features(extractor, images, grid_of(size, scale=scale, patch=patch), flip=flip) for scale in scales]
    resized = [resize(each, wanted) for each in maps]
    return sum(resized[1:], resized[0]) / len(resized)


def grid_of(size: tuple[int, int], *, scale: float, patch: int) -> tuple[int, int]:
    """Cells (h,w) of an image of `size` (height, width) that is resized by `scale` and up to multiples of `patch`."""
    height, width = (-(-round(side * scale) // patch) for side in size)
    return max(height, 1), max(width, 1)


def _features(extractor: Extractor, images: Tensor, grid: tuple[int, int], *, flip: bool) -> Tensor:
    """(B,D,h,w) mean of the images and their mirror images, at the scale that gives `grid`."""
    view = resize(images, (grid[0] * extractor.patch_size, grid[1] * extractor.patch_size))
    if not flip:
        return extractor(view).float()
    straight, mirrored = extractor(torch.cat([view, view.flip(-1)])).float().chunk(2)
    return (straight + mirrored.flip(-1)) / 2
