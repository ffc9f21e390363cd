"""Class probabilities of whole images."""

import torch
from torch import Tensor

from dhr.network import SegmentationNetwork
from dhr.numerics import resize


@torch.no_grad()
def multi_scale_probabilities(
    network: SegmentationNetwork, image: Tensor, *, scales: tuple[float, ...], flip: bool
) -> Tensor:
    """Mean soft-max over scales and flips, at the size of the image.

    Every map is resized to the grid of the logits at scale 1 before the mean, and the mean to the image, as the
    released code does; going straight to the image gives other numbers.

    Args:
        network: in eval mode.
        image: (3,H,W) normalised.
        scales: factors on the image size.
        flip: whether the mirrored image is averaged in.

    Returns:
        (K,H,W), summing to 1.
    """
    size = (image.shape[-2], image.shape[-1])
    stride = network.decoder.stride
    grid = (-(-size[0] // stride), -(-size[1] // stride))
    views = [_probabilities(network, image, scale, grid, flip=flip) for scale in scales]
    mean = sum(views[1:], views[0]) / len(views)
    return resize(mean[None], size, align_corners=True)[0]


def _probabilities(
    network: SegmentationNetwork, image: Tensor, scale: float, grid: tuple[int, int], *, flip: bool
) -> Tensor:
    """(K,h,w) mean of image and mirrored image at one scale."""
    size = (max(int(image.shape[-2] * scale), 1), max(int(image.shape[-1] * scale), 1))
    view = resize(image[None], size, align_corners=True)
    batch = torch.cat([view, view.flip(-1)]) if flip else view
    probabilities = resize(network(batch).logits.float().softmax(1), grid, align_corners=True)
    return (probabilities[0] + probabilities[1].flip(-1)) / 2 if flip else probabilities[0]
