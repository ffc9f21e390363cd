"""Masks that a segmentation network gives images whose tags are known."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from dhr.core.colour import normalise
from dhr.core.labels import IGNORE
from dhr.core.numerics import fast_argmax
from dhr.crf.interface import Crf
from dhr.dataset.split import Split
from dhr.network.multi_scale import multi_scale_probabilities
from dhr.network.segmentation import SegmentationNetwork
from dhr.runtime.pools import map_ahead
from dhr.training.divergence import DIVERGED, naming_images


def tagged_masks(
    network: SegmentationNetwork, split: Split, ids: Sequence[str], *, scales: tuple[float, ...], flip: bool, crf: Crf
) -> Iterator[tuple[str, Tensor]]:
    """Ids and (H,W) uint8 masks, in this order: the best class of every pixel among the tags and the background.

    The CRF of some images runs while the network sees the next ones. An image without tags is background everywhere,
    or IGNORE where the data set has no background class.

    Args:
        network: on its device.
        split: images and tags.
        ids: of the images.
        scales: factors on the image size.
        flip: whether the mirrored image is averaged in.
        crf: refines the probabilities of these classes.

    Raises:
        InputError: the scores of an image are no probabilities.
    """
    device, first_tag = next(network.eval().parameters()).device, split.table.first_tag

    def looked_at() -> Iterator[tuple[str, Tensor, Tensor, Tensor]]:
        for image_id in ids:
            pixels = split.pixels(image_id)
            classes = split.tags(image_id).nonzero()[:, 0] + first_tag
            if first_tag:
                classes = torch.cat([classes.new_zeros(1), classes])
            image = normalise(pixels.to(device))
            probabilities = multi_scale_probabilities(network, image, scales=scales, flip=flip)
            yield image_id, pixels, classes, probabilities[classes.to(device)].cpu()

    def refined(image: tuple[str, Tensor, Tensor, Tensor]) -> tuple[str, Tensor]:
        image_id, pixels, classes, scores = image
        if not len(classes):
            return image_id, torch.full(pixels.shape[1:], IGNORE, dtype=torch.uint8)
        field = crf.on(pixels[None], torch.ones(1, *pixels.shape[1:], dtype=torch.bool))
        with naming_images([image_id], DIVERGED):
            marginals = field(scores[None], torch.ones(1, len(classes), dtype=torch.bool))
        return image_id, classes[fast_argmax(marginals[0], dim=0)].to(torch.uint8)

    with ThreadPoolExecutor(crf.workers or 1) as pool:
        yield from map_ahead(pool, refined, looked_at(), workers=crf.workers or 1)
