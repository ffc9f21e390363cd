"""Class probabilities of whole images."""

import torch
from torch import Tensor

from dhr.network import SegmentationNetwork


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
