"""Class probabilities of whole images."""

import torch
from torch import Tensor

from dhr.core.cells import patch_grid
from dhr.core.extractor import Extractor
from dhr.core.numerics import resize
from dhr.network.segmentation import SegmentationNetwork


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
    views = [_probabilities(network, image, scale, flip=flip) for scale in scales]
    mean = sum(views[1:], views[0]) / len(views)
    return network.cells.on_image(mean[None], size, stride=network.decoder.stride)[0]


def _probabilities(network: SegmentationNetwork, image: Tensor, scale: float, *, flip: bool) -> Tensor:
    """(K,h,w) mean of image and mirrored image at one scale."""
    size = (image.shape[-2], image.shape[-1])
    wide = (max(int(size[0] * scale), 1), max(int(size[1] * scale), 1))
    view = network.cells.view(image[None], wide)
    batch = torch.cat([view, view.flip(-1)]) if flip else view
    maps = network(batch).logits.float().softmax(1)
    return network.cells.on_grid(maps, view=wide, image=size, stride=network.decoder.stride).mean(0)


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
    wanted = grid or patch_grid(size, scale=max(scales), patch=patch)
    maps = [_features(extractor, images, patch_grid(size, scale=scale, patch=patch), flip=flip) for scale in scales]
    resized = [resize(each, wanted) for each in maps]
    return sum(resized[1:], resized[0]) / len(resized)


def _features(extractor: Extractor, images: Tensor, grid: tuple[int, int], *, flip: bool) -> Tensor:
    """(B,D,h,w) mean of the images and their mirror images, at the scale that gives `grid`."""
    view = resize(images, (grid[0] * extractor.patch_size, grid[1] * extractor.patch_size))
    if not flip:
        return extractor(view).float()
    straight, mirrored = extractor(torch.cat([view, view.flip(-1)])).float().chunk(2)
    return (straight + mirrored.flip(-1)) / 2
