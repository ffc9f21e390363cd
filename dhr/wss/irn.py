"""Masks from tags alone: class activation maps, spread by a random walk up to edges that were learnt from them.

IRN (CVPR 2019) without its displacement branch, which only tells objects of one class apart: a branch on the frozen
classifier of wss=cam learns where objects end from the surest labels of the maps.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar, Self

import pytorch_lightning as pl
import torch
from annotated_types import Ge, Le
from torch import Tensor, nn

from dhr.core.labels import IGNORE
from dhr.core.numerics import fast_argmax, resize, resize_labels
from dhr.core.ranges import Count, Power, UnitInterval
from dhr.core.sample import Batch
from dhr.crf.interface import Crf
from dhr.dataset.split import MaskFolder
from dhr.network.multi_scale import mean_of_mirrored
from dhr.runtime.ranks import mean_over_ranks
from dhr.training.optimizer import OptimizerRecipe
from dhr.wss.cam import TagClassifier, activation_maps, classifier_of, looking
from dhr.wss.masks import look_on, masks_ahead, refined
from dhr.wss.random_walk import HERE, RandomWalk, affinity, half_disk, pairs
from dhr.wss.recipe import Step
from dhr.wss.workshop import Workshop

STRIDE = 4  # of the edges and of the walk, published
WIDTH, NORM_GROUPS = 32, 4  # of what the branch makes of each map, published
TINY = 1e-5  # added inside the logarithms, published


@dataclass(frozen=True)
class IrnRecipe:
    """How the edges are learnt and how far the maps are spread.

    Attributes:
        optimizer: as in the `optimizer` group; its rate for heads is that of the branch.
        walk: how scores spread.
        epochs: of the branch.
        reach: cells; pairs of cells nearer than this are compared in training.
        foreground: a map above it is surely its class.
        background: a pixel is surely background where all maps are below it.
        certainty: probability of a label before the CRF of the sure labels.
        damping: power with which scores that lie on edges are lowered before the walk; 1 as published, 0 not at all.
        floor: score of the background after the walk.
    """

    seen: ClassVar[tuple[str, ...]] = ("source",)
    of_masks: ClassVar[frozenset[str]] = frozenset({"walk", "damping", "floor"})
    optimizer: OptimizerRecipe
    walk: RandomWalk
    epochs: Count = 3
    reach: Annotated[int, Ge(2), Le(100)] = 10
    foreground: UnitInterval = 0.3
    background: UnitInterval = 0.05
    certainty: Annotated[float, Ge(0.5), Le(0.999999)] = 0.7
    damping: Power = 1.0
    floor: UnitInterval = 0.25

    def steps(self, workshop: Workshop) -> Sequence[Step]:
        """See `Recipe`: sure labels, edges learnt from them, masks.

        Raises:
            InputError: the source is no tag classifier, or there is none on disk yet.
        """
        classifier, origin = classifier_of(workshop)
        sure = partial(confident_masks, self, classifier, workshop)
        confident = workshop.between("confident", sure, **origin)
        learnt = MaskFolder(confident.folder, workshop.learnt.table.num_classes)
        network, crf = EdgeNetwork(self, classifier, workshop.learnt.table.first_tag), workshop.crf_settings
        file = workshop.file("edges", crf=crf, **origin)
        edges = workshop.training(file, network, epochs=self.epochs, masks=learnt)
        return confident, edges, workshop.masks(partial(masks_of, network, workshop), edges)


class EdgeNetwork(pl.LightningModule):
    """The branch for edges on the backbone of a tag classifier, all of which stays as it is.

    Args:
        recipe: of the training.
        classifier: trained.
        first_tag: lowest label that is a tag.
    """

    def __init__(self, recipe: IrnRecipe, classifier: TagClassifier, first_tag: int) -> None:
        super().__init__()
        self.recipe = recipe
        self.first_tag = first_tag
        self.classifier = classifier.requires_grad_(requires_grad=False)
        channels: Any = classifier.backbone.channels
        self.reduced = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, WIDTH, 1, bias=False), nn.GroupNorm(NORM_GROUPS, WIDTH), nn.ReLU())
            for width in channels
        )
        self.edge = nn.Conv2d(WIDTH * len(channels), 1, 1)

    def train(self, mode: bool = True) -> Self:
        """The classifier stays in eval mode."""
        super().train(mode)
        self.classifier.eval()
        return self

    def forward(self, image: Tensor) -> Tensor:
        """(B,3,H,W) -> logits of edges (B,1,h,w), one cell for 4 pixels, rounded up."""
        size = (math.ceil(image.shape[-2] / STRIDE), math.ceil(image.shape[-1] / STRIDE))
        with torch.no_grad():
            maps = self.classifier.backbone(image)
        reduced = [resize(part(features), size) for part, features in zip(self.reduced, maps, strict=True)]
        return self.edge(torch.cat(reduced, 1))

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Loss of the pairs of cells in a batch of crops."""
        edges = self(batch.image).float().sigmoid()
        labels = resize_labels(batch.wss_mask, (edges.shape[-2], edges.shape[-1]))
        loss = pair_loss(edges, labels, self.recipe.reach, first_tag=self.first_tag)
        self.log("loss", loss.detach(), batch_size=len(batch.ids), prog_bar=True)
        return loss

    def configure_optimizers(self) -> Any:
        """Optimizer and per-iteration schedule."""
        steps = max(int(self.trainer.estimated_stepping_batches), 1)
        optimizer, schedule = self.recipe.optimizer.build(nn.Module(), (self.reduced, self.edge), steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def pair_loss(edges: Tensor, labels: Tensor, reach: int, *, first_tag: int) -> Tensor:
    """Log loss of the affinities of all pairs of cells nearer than `reach` (IRN, eq. 5 and 6).

    Pairs of one class should be akin, pairs of two classes not. Each kind has its mean, over all processes together:
    half of the loss are pairs of two classes, a quarter pairs of one tag, a quarter pairs of background. A kind without
    a pair adds 0, and so do cells whose label is IGNORE.

    Args:
        edges: (B,1,h,w) in [0,1].
        labels: (B,h,w).
        reach: cells.
        first_tag: lowest label that is a tag.
    """
    totals, counts = edges.new_zeros(3), edges.new_zeros(3)
    for step in half_disk(reach):
        first, second = pairs(labels, step, HERE), pairs(labels, step, step)
        known, same = (first != IGNORE) & (second != IGNORE), first == second
        kin = affinity(edges[:, 0], step)
        losses = -(torch.where(same, kin, 1 - kin) + TINY).log()
        kinds = torch.stack([known & same & (first >= first_tag), known & same & (first < first_tag), known & ~same])
        totals = totals + (losses * kinds).sum((1, 2, 3))
        counts = counts + kinds.sum((1, 2, 3))
    foreground, background, apart = totals / mean_over_ranks(counts).clamp_min(1)
    return (foreground + background) / 4 + apart / 2


def confident_labels(
    maps: Tensor, tags: Tensor, pixels: Tensor, *, recipe: IrnRecipe, crf: Crf, first_tag: int
) -> Tensor:
    """What the maps of an image are sure of: a tag, background, or IGNORE.

    With a background class, tags are sure where they stay after the CRF although background has the score
    `recipe.foreground`, background where it stays although it has only `recipe.background`. Without one, every pixel
    gets a tag by the CRF, and those are sure whose largest map reaches `recipe.foreground`.

    Args:
        maps: (T,H,W) in [0,1].
        tags: (T), at least one.
        pixels: (3,H,W) uint8.
        recipe: says how sure.
        crf: refines the labels.
        first_tag: 1 with a background class, else 0.

    Returns:
        (H,W) uint8.
    """
    tagged = maps[tags > 0]

    def labelled(scores: Tensor) -> Tensor:
        rest = (1 - recipe.certainty) / max(len(scores) - 1, 1)
        hits = fast_argmax(scores, dim=0) == torch.arange(len(scores))[:, None, None]
        return refined(torch.where(hits, recipe.certainty, rest), tags, pixels, crf=crf, first_tag=first_tag)

    if not first_tag:
        sure = maps.amax(0) >= recipe.foreground
        return torch.where(sure, labelled(tagged), IGNORE).to(torch.uint8)
    foreground, background = (
        labelled(torch.cat([torch.full_like(maps[:1], score), tagged]))
        for score in (recipe.foreground, recipe.background)
    )
    unsure = (foreground == 0) & (background > 0)
    return foreground.masked_fill(unsure, IGNORE)


@torch.no_grad()
def spread(network: EdgeNetwork, image: Tensor, tags: Tensor) -> Tensor:
    """Maps of the tags after the random walk, at the size of the image.

    Args:
        network: in eval mode.
        image: (3,H,W) normalised.
        tags: (T) 0/1, at least one.

    Returns:
        (T,H,W) in [0,1], divided by the largest value of all; 0 for other classes.
    """
    chosen = tags.nonzero()[:, 0]
    maps = activation_maps(network.classifier, image, tags)
    logits = network(torch.stack([image, image.flip(-1)]))
    edges = mean_of_mirrored(logits.float(), flip=True).sigmoid()
    damped = (1 - edges) ** network.recipe.damping
    sources = resize(maps[chosen][None], (edges.shape[-2], edges.shape[-1])) * damped
    walked = network.recipe.walk(sources, edges).clamp_min(0)
    walked = resize(walked, (image.shape[-2], image.shape[-1]))[0]
    top = walked.max()
    return torch.zeros_like(maps).index_copy(0, chosen, walked / top.masked_fill(top == 0, 1.0))


def mask_of(maps: Tensor, tags: Tensor, pixels: Tensor, *, crf: Crf, floor: float, first_tag: int) -> Tensor:
    """(T,H,W) maps in [0,1], (T) tags and (3,H,W) uint8 pixels -> (H,W) uint8 mask of the tagged classes.

    With a background class its score is `floor`; without one every pixel gets a tag.
    """
    scores = maps[tags > 0]
    if first_tag:
        scores = torch.cat([torch.full_like(maps[:1], floor), scores])
    return refined(scores, tags, pixels, crf=crf, first_tag=first_tag)


def confident_masks(
    recipe: IrnRecipe, classifier: TagClassifier, workshop: Workshop, ids: Sequence[str]
) -> Iterator[tuple[str, Tensor]]:
    """Ids and `confident_labels` of the images to learn from."""
    split, crf = workshop.learnt, workshop.crf
    finish = partial(confident_labels, recipe=recipe, crf=crf, first_tag=split.table.first_tag)
    return masks_ahead(split, ids, looking(classifier.to(workshop.device)), finish, workers=crf.workers)


def masks_of(network: EdgeNetwork, workshop: Workshop, ids: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
    """Ids and masks of the images that are wanted, see `spread` and `mask_of`."""
    split, crf = workshop.wanted, workshop.crf
    finish = partial(mask_of, crf=crf, floor=network.recipe.floor, first_tag=split.table.first_tag)
    look = look_on(workshop.device, partial(spread, network.eval().to(workshop.device)))
    return masks_ahead(split, ids, look, finish, workers=crf.workers)
