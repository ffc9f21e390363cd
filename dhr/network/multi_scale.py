"""Maps of whole images, averaged over scales and mirror images (test-time augmentation)."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from dhr.core.cells import Size, patch_grid
from dhr.core.extractor import Extractor
from dhr.core.numerics import resize
from dhr.network.segmentation import SegmentationNetwork


def sum_over_sizes(
    model: Callable[[Tensor], Tensor], images: Tensor, sizes: Iterable[Size], *,
    flip: bool, placed: Callable[[Tensor, Size], Tensor], resized: Callable[[Tensor, Size], Tensor] = resize,
) -> Tensor:  # fmt: skip
    """Sum of a model's maps of images at several sizes, with the mirror images in the same batch if `flip`.

    Args:
        model: (V,3,h,w) views -> (V,D,h',w') maps.
        images: (B,3,H,W) normalised.
        sizes: (height, width) of the views; at least one.
        flip: whether the B images are followed by their B mirror images.
        placed: brings the maps of the views of a size to the grid and the number of images of the result.
        resized: makes the views of a size.
    """
    total: Tensor | None = None
    for size in sizes:
        views = resized(images, size)
        maps = placed(model(torch.cat([views, views.flip(-1)]) if flip else views), size)
        total = maps if total is None else total + maps
    if total is None:
        raise ValueError("no size to look at")
    return total


def mean_of_mirrored(maps: Tensor, *, flip: bool) -> Tensor:
    """(2B,D,h,w) maps of B images and their mirror images -> (B,D,h,w) means, the latter turned back.

    Without `flip` these are the maps of the images alone, and come back as they are.
    """
    if not flip:
        return maps
    straight, mirrored = maps.chunk(2)
    return (straight + mirrored.flip(-1)) / 2


def scaled_sizes(image: Tensor, scales: Iterable[float]) -> list[Size]:
    """Sizes of an image (...,H,W) at several scales, rounded down, at least one pixel."""
    height, width = image.shape[-2:]
    return [(max(int(height * scale), 1), max(int(width * scale), 1)) for scale in scales]


@torch.no_grad()
def multi_scale_probabilities(
    network: SegmentationNetwork, image: Tensor, *, scales: tuple[float, ...], flip: bool
) -> Tensor:
    """Mean soft-max over scales and flips, at the size of the image.

    Every map is brought to the cells of scale 1 before the mean, and the mean to the image, as the released code does;
    going straight to the image gives other numbers. Where cells lie in the image the network knows (`network.cells`).

    Args:
        network: in eval mode.
        image: (3,H,W) normalised.
        scales: factors on the image size.
        flip: whether the mirrored image is averaged in.

    Returns:
        (K,H,W), summing to 1.
    """
    size = (image.shape[-2], image.shape[-1])
    maps = multi_scale_cells(network, image, scales=scales, flip=flip)
    return network.cells.on_image(maps[None], size, stride=network.decoder.stride)[0]


@torch.no_grad()
def multi_scale_cells(network: SegmentationNetwork, image: Tensor, *, scales: tuple[float, ...], flip: bool) -> Tensor:
    """As `multi_scale_probabilities`, before the last step: (K,h,w) on the cells that the image has at scale 1."""
    size, stride, cells = (image.shape[-2], image.shape[-1]), network.decoder.stride, network.cells
    total = sum_over_sizes(
        lambda views: network(views).logits.float().softmax(1),
        image[None],
        scaled_sizes(image, scales),
        flip=flip,
        resized=cells.view,
        placed=lambda maps, view: cells.on_grid(maps, view=view, image=size, stride=stride).mean(0, keepdim=True),
    )
    return (total / len(scales))[0]


def multi_scale_features(
    extractor: Extractor, images: Tensor, *, scales: tuple[float, ...], flip: bool, grid: Size | None = None
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
    target = grid or patch_grid(size, scale=max(scales), patch=patch)
    grids = [patch_grid(size, scale=scale, patch=patch) for scale in scales]
    total = sum_over_sizes(
        lambda views: extractor(views).float(),
        images,
        [(rows * patch, columns * patch) for rows, columns in grids],
        flip=flip,
        placed=lambda maps, _: resize(mean_of_mirrored(maps, flip=flip), target),
    )
    return total / len(scales)
