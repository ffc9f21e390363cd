"""Masks that a segmentation network gives images whose tags are known."""

from collections.abc import Iterator, Sequence
from functools import partial

from torch import Tensor

from dhr.crf.interface import Crf
from dhr.dataset.split import Split
from dhr.network.multi_scale import multi_scale_probabilities
from dhr.network.segmentation import SegmentationNetwork
from dhr.wss.masks import labels_of, look_on, masks_ahead, refined


def tagged_masks(
    network: SegmentationNetwork, split: Split, ids: Sequence[str], *, scales: tuple[float, ...], flip: bool, crf: Crf
) -> Iterator[tuple[str, Tensor]]:
    """Ids and (H,W) uint8 masks, see `masks_ahead`: the best of the tags and the background after the CRF.

    Args:
        network: on its device.
        split: images and tags.
        ids: of the images.
        scales: factors on the image size.
        flip: whether the mirrored image is averaged in.
        crf: refines the probabilities of these classes.
    """
    device, first_tag = next(network.eval().parameters()).device, split.table.first_tag

    def scores(image: Tensor, tags: Tensor) -> Tensor:
        probabilities = multi_scale_probabilities(network, image, scales=scales, flip=flip)
        return probabilities[labels_of(tags, first_tag=first_tag)]

    finish = partial(refined, crf=crf, first_tag=first_tag)
    return masks_ahead(split, ids, look_on(device, scores), finish, workers=crf.workers)
