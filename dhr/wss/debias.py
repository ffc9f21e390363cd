"""Where a mask is biased: foreground whose features are not those of its class, but those of what lies around it.

The debiasing of MARS (Jo, Yu, Kim and Pan, ICCV 2023): features of an unsupervised model are clustered within every
mask; clusters of a class that are near to backgrounds, such as rails near trains, are left out of the class.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from dhr.core.errors import InputError
from dhr.core.labels import IGNORE
from dhr.core.numerics import fast_argmax, resize, resize_labels, unit_vectors
from dhr.crf.interface import Crf

ROUNDS = 50  # of k-means at most; with two clusters it is steady after about five
BACKGROUND = 0

Centroids = Mapping[int, Tensor]  # of one image: (C,D) unit vectors of each label


def clusters_of(cells: Tensor, count: int) -> Tensor:
    """Cosine k-means, begun with cells that are far from each other, so that it always ends alike.

    The first cell is the one farthest from the mean of all, each further one the farthest from those before it.

    Args:
        cells: (N,D) unit vectors.
        count: of the clusters.

    Returns:
        (C,D) unit centroids; C is less than `count` only where there are fewer cells, or fewer that differ.

    >>> clusters_of(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]), 2)
    tensor([[0., 1.],
            [1., 0.]])
    """
    if not len(cells):
        return cells
    nearness = cells @ unit_vectors(cells.mean(0), dim=0)
    seeds: list[int] = []
    while len(seeds) < min(count, len(cells)):
        seeds.append(int(nearness.argmin()))
        to_newest = cells @ cells[seeds[-1]]
        nearness = to_newest if len(seeds) == 1 else torch.maximum(nearness, to_newest)
    centroids, before = cells[seeds], None
    for _ in range(ROUNDS):
        nearest = fast_argmax(cells @ centroids.mT, dim=1)
        if before is not None and torch.equal(nearest, before):
            break
        before, members = nearest, functional.one_hot(nearest, len(seeds)).to(cells)
        occupied = members.sum(0) > 0
        centroids = torch.where(occupied[:, None], unit_vectors(members.mT @ cells, dim=1), centroids)
    return centroids[occupied]


def centroids_of(features: Tensor, mask: Tensor, *, count: int) -> dict[int, Tensor]:
    """The clusters of every label of one image, background included.

    Args:
        features: (D,h,w).
        mask: (H,W) of the whole image; it is looked up at the centres of the cells.
        count: of clusters per label.

    Returns:
        (C,D) unit centroids by label; labels that no cell shows, and IGNORE, are not there.
    """
    labels = resize_labels(mask[None], (features.shape[-2], features.shape[-1]))[0].flatten()
    cells = unit_vectors(features.float().flatten(1).mT, dim=1)
    present = [label for label in labels.unique().tolist() if label != IGNORE]
    return {label: clusters_of(cells[labels == label], count) for label in present}


def debiased_centroids(images: Iterable[Centroids], *, num_classes: int, kept: float) -> Tensor:
    """The mean of those centroids of each class that are farthest from the backgrounds of all images.

    The distance of a centroid v is the mean of (1 - cos) / 2 over all background centroids, which is (1 - v.m) / 2 with
    their mean m; so it costs one product for each centroid.

    Args:
        images: centroids of each image.
        num_classes: background included.
        kept: share of the centroids of a class, rounded up.

    Returns:
        (K,D) unit vectors; zero for the background, and for classes that are in no image.

    Raises:
        InputError: no image has a background.
    """
    backgrounds, count, of_class = torch.zeros(()), 0, defaultdict[int, list[Tensor]](list)
    for image in images:
        for label, centroids in image.items():
            if label == BACKGROUND:
                backgrounds, count = backgrounds + centroids.double().sum(0), count + len(centroids)
            else:
                of_class[label].append(centroids)
    if not count:
        raise InputError("wss.source: no background in any of its masks; wss=mars compares classes with backgrounds")
    mean = (backgrounds / count).float()
    debiased = torch.zeros(num_classes, len(mean))
    for label, several in of_class.items():
        centroids = torch.cat(several)
        distance = (1 - centroids @ mean) / 2
        farthest = distance.argsort(descending=True, stable=True)[: math.ceil(kept * len(centroids) - 1e-9)]
        debiased[label] = unit_vectors(centroids[farthest].mean(0), dim=0)
    return debiased


def likeness(features: Tensor, centroids: Tensor, size: tuple[int, int]) -> Tensor:
    """How like its classes every pixel of an image is: relu(max cos), in [0,1].

    Args:
        features: (D,h,w).
        centroids: (C,D) debiased centroids of the classes of the image, unit vectors or zero.
        size: (H,W) of the image.
    """
    cosines = torch.einsum("cd,dhw->chw", centroids, unit_vectors(features.float(), dim=0))
    best = functional.pad(cosines, (0, 0, 0, 0, 1, 0)).amax(0)  # at least 0, also without a class
    return resize(best[None, None], size)[0, 0].clamp_max(1)


def contrast(features: Tensor, centroids: Tensor, backgrounds: Tensor, size: tuple[int, int]) -> Tensor:
    """How much liker its classes than the background of its image every pixel is, in [0,1]: .5 where it is both alike.

    Not published. Unlike `likeness` it needs no features whose cosines are above .5 within a class and below elsewhere.

    Args:
        features: (D,h,w).
        centroids: (C,D) debiased centroids of the classes of the image, unit vectors or zero.
        backgrounds: (B,D) centroids of the background of this image, none where it has none.
        size: (H,W) of the image.
    """
    return (1 + likeness(features, centroids, size) - likeness(features, backgrounds, size)) / 2


def without_bias(mask: Tensor, foreground: Tensor, pixels: Tensor, *, crf: Crf) -> Tensor:
    """The mask with IGNORE where it has foreground that the debiased mask, the CRF of the likeness, has not.

    Args:
        mask: (H,W) uint8.
        foreground: (H,W) in [0,1].
        pixels: (3,H,W) uint8.
        crf: refines the likeness, with 1 - likeness for the background.
    """
    claimed = (mask != BACKGROUND) & (mask != IGNORE)
    if not bool(claimed.any()):
        return mask
    whole, both = torch.ones(1, *mask.shape, dtype=torch.bool), torch.ones(1, 2, dtype=torch.bool)
    marginals = crf.on(pixels[None], whole)(torch.stack([1 - foreground, foreground])[None], both)[0]
    return mask.masked_fill(claimed & (marginals[1] <= marginals[0]), IGNORE)
