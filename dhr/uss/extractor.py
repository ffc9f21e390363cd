"""What every model of unsupervised features offers."""

from typing import Protocol

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
    """Features of one image, averaged over scales and flips on the grid of the largest scale.

    Each side is rounded up to a multiple of the patch.

    Args:
        extractor: the model.
        image: (3,H,W) normalised.
        scales: factors on the image size.
        flip: whether the mirrored image is averaged in.

    Returns:
        (D,h,w) with h = ceil(max(scales) * H / patch_size) and w alike.
    """
    sizes = [_rounded_up(image, scale, extractor.patch_size) for scale in scales]
    grid = tuple(side // extractor.patch_size for side in max(sizes))
    views = [_features(extractor, image, size, grid, mirrored=False) for size in sizes]
    if flip:
        views += [_features(extractor, image, size, grid, mirrored=True) for size in sizes]
    return sum(views[1:], views[0]) / len(views)


def _rounded_up(image: Tensor, scale: float, patch: int) -> tuple[int, int]:
    height, width = (-(-round(side * scale) // patch) * patch for side in image.shape[-2:])
    return height, width


def _features(
    extractor: Extractor, image: Tensor, size: tuple[int, int], grid: tuple[int, ...], *, mirrored: bool
) -> Tensor:
    view = resize(image[None], size)
    features = extractor(view.flip(-1) if mirrored else view)
    return resize(features.flip(-1) if mirrored else features, (grid[0], grid[1]))[0]
