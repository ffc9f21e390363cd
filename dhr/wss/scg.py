"""Masks from tags alone: class activation maps that follow the features of their own classifier; nothing is trained."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from dhr.core.numerics import resize
from dhr.core.ranges import Gamma
from dhr.wss.cam import TagClassifier, activation_maps, classifier_of, mask_of
from dhr.wss.masks import Look, look_on, masks_ahead, scores_of
from dhr.wss.recipe import Step
from dhr.wss.recur_seed import unit_maps
from dhr.wss.self_correlation import SelfCorrelation
from dhr.wss.workshop import Workshop

LONGEST = 64  # cells: every cell of an image is compared with every other one


@dataclass(frozen=True)
class ScgRecipe:
    """How the maps of the classifier of wss=cam follow its features C4 (SCG of SPA, Pan et al. 2021).

    Attributes:
        correlation: what is one object with the cells that a map is sure of.
        gamma: power of the background channel, (1 - max of the maps) ** gamma.
    """

    seen: ClassVar[tuple[str, ...]] = ("source",)
    of_masks: ClassVar[frozenset[str]] = frozenset()
    correlation: SelfCorrelation
    gamma: Gamma = 1.0

    def steps(self, workshop: Workshop) -> Sequence[Step]:
        """See `Recipe`: the masks.

        Raises:
            InputError: the source is no tag classifier, or there is none on disk yet.
        """
        classifier, origin = classifier_of(workshop)
        maps = workshop.soft_maps(partial(maps_of, self, classifier, workshop), **origin)
        return *maps, workshop.masks(partial(masks_of, self, classifier, workshop), **origin)


@torch.no_grad()
def correlated_maps(classifier: TagClassifier, correlation: SelfCorrelation, image: Tensor, tags: Tensor) -> Tensor:
    """Class activation maps as far as the features of the image go with them.

    Args:
        classifier: in eval mode.
        correlation: of the features C4.
        image: (3,H,W) normalised.
        tags: (T) 0/1.

    Returns:
        (T,H,W) in [0,1]; 0 for other classes.
    """
    maps, chosen = activation_maps(classifier, image, tags), tags.nonzero()[:, 0]
    if not len(chosen):
        return maps
    features = at_most(LONGEST, classifier.backbone(image[None])[2].float())
    size = (features.shape[-2], features.shape[-1])
    everywhere = torch.ones(1, *size, dtype=torch.bool, device=image.device)
    followed = correlation.maps(unit_maps(resize(maps[chosen][None], size), everywhere), features, everywhere)
    followed = resize(followed, (image.shape[-2], image.shape[-1]))[0]
    return torch.zeros_like(maps).index_copy(0, chosen, followed)


def at_most(longest: int, features: Tensor) -> Tensor:
    """Features (B,D,h,w), averaged to larger cells where a side has more than `longest`.

    >>> at_most(2, torch.tensor([[[[1.0, 3.0, 5.0, 7.0]]]])), at_most(4, torch.zeros(1, 1, 3, 4)).shape
    (tensor([[[[2., 6.]]]]), torch.Size([1, 1, 3, 4]))
    """
    height, width = features.shape[-2:]
    side = max(height, width)
    if side <= longest:
        return features
    return functional.adaptive_avg_pool2d(features, (max(height * longest // side, 1), max(width * longest // side, 1)))


def maps_of(
    recipe: ScgRecipe, classifier: TagClassifier, workshop: Workshop, ids: Sequence[str]
) -> Iterator[tuple[str, Tensor]]:
    """Ids and (T,H,W) `correlated_maps` of the images that are wanted, all 0 for one without tags."""
    return scores_of(workshop.wanted, ids, looking(recipe, classifier, workshop.device))


def masks_of(
    recipe: ScgRecipe, classifier: TagClassifier, workshop: Workshop, ids: Sequence[str]
) -> Iterator[tuple[str, Tensor]]:
    """Ids and (H,W) uint8 masks of the images that are wanted."""
    split, crf = workshop.wanted, workshop.crf
    finish = partial(mask_of, crf=crf, gamma=recipe.gamma, first_tag=split.table.first_tag)
    return masks_ahead(split, ids, looking(recipe, classifier, workshop.device), finish, workers=crf.workers)


def looking(recipe: ScgRecipe, classifier: TagClassifier, device: torch.device) -> Look:
    """`correlated_maps`, with the classifier in eval mode on its device."""
    return look_on(device, partial(correlated_maps, classifier.eval().to(device), recipe.correlation))
