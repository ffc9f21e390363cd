"""From images with tags to masks: one loop for every method, in which networks and CRFs work side by side."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from dhr.core.colour import normalise
from dhr.core.labels import IGNORE
from dhr.core.numerics import fast_argmax
from dhr.crf.interface import Crf, naming_images
from dhr.dataset.split import Split
from dhr.runtime.pools import map_ahead
from dhr.training.divergence import DIVERGED

Look = Callable[[Tensor, Tensor], Tensor]  # (3,H,W) uint8 pixels and (T) tags, at least one -> scores, on any device
Finish = Callable[[Tensor, Tensor, Tensor], Tensor]  # scores on the CPU, tags and pixels -> (H,W) uint8 mask


def look_on(device: torch.device, scores: Callable[[Tensor, Tensor], Tensor]) -> Look:
    """`scores` of a normalised image (3,H,W) and its tags, both on a device, as a look at pixels."""
    return lambda pixels, tags: scores(normalise(pixels.to(device)), tags.to(device))


def scores_of(split: Split, ids: Sequence[str], look: Look) -> Iterator[tuple[str, Tensor]]:
    """Ids and what `look` says of their images, in this order, on the CPU."""
    for image_id in ids:
        yield image_id, look(split.pixels(image_id), split.tags(image_id)).cpu()


def masks_ahead(
    split: Split, ids: Sequence[str], look: Look, finish: Finish, *, workers: int, cure: str = DIVERGED
) -> Iterator[tuple[str, Tensor]]:
    """Ids and (H,W) uint8 masks, in this order; the CRF of some images runs while the network sees the next ones.

    An image without tags is background everywhere, or IGNORE where the data set has no background class.

    Args:
        split: images and tags.
        ids: of the images.
        look: what a network says of an image.
        finish: makes a mask of it; called in `workers` threads.
        workers: threads, at least one.
        cure: what helps if the scores are no probabilities.

    Raises:
        InputError: the scores of an image are no probabilities.
    """
    empty = 0 if split.table.has_background else IGNORE

    def looked_at() -> Iterator[tuple[str, Tensor, Tensor, Tensor | None]]:
        for image_id in ids:
            pixels, tags = split.pixels(image_id), split.tags(image_id)
            yield image_id, pixels, tags, look(pixels, tags).cpu() if bool(tags.any()) else None

    def finished(image: tuple[str, Tensor, Tensor, Tensor | None]) -> tuple[str, Tensor]:
        image_id, pixels, tags, scores = image
        if scores is None:
            return image_id, torch.full(pixels.shape[1:], empty, dtype=torch.uint8)
        with naming_images([image_id], cure):
            return image_id, finish(scores, tags, pixels)

    with ThreadPoolExecutor(max(workers, 1)) as pool:
        yield from map_ahead(pool, finished, looked_at(), workers=max(workers, 1))


def labels_of(tags: Tensor, *, first_tag: int) -> Tensor:
    """(T) 0/1 -> the labels that an image can have, in rising order: the background, where there is one, and its tags.

    >>> labels_of(torch.tensor([0.0, 1.0, 1.0]), first_tag=1), labels_of(torch.tensor([0.0, 1.0, 1.0]), first_tag=0)
    (tensor([0, 2, 3]), tensor([1, 2]))
    """
    chosen = tags.nonzero()[:, 0]
    return torch.cat([chosen.new_zeros(first_tag), chosen + first_tag])


def refined(scores: Tensor, tags: Tensor, pixels: Tensor, *, crf: Crf, first_tag: int) -> Tensor:
    """(M,H,W) scores of `labels_of` tags (T) and (3,H,W) uint8 pixels -> (H,W) uint8 mask of the best after the CRF."""
    labels, valid = labels_of(tags, first_tag=first_tag), torch.ones(1, *pixels.shape[1:], dtype=torch.bool)
    marginals = crf.on(pixels[None], valid)(scores[None], torch.ones(1, len(labels), dtype=torch.bool))
    return labels[fast_argmax(marginals[0], dim=0)].to(torch.uint8)
