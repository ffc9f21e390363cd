"""Masks from tags alone: a classifier's class activation maps, summed over scales and refined by a dense CRF."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Protocol

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from dhr.classifier.cam import CamClassifier
from dhr.core.errors import InputError
from dhr.core.losses import tag_loss
from dhr.core.numerics import resize
from dhr.core.ranges import Count, Gamma, Scales
from dhr.core.sample import Batch
from dhr.crf.interface import Crf
from dhr.dataset.split import Split
from dhr.disk.weights.state import load_strictly, read_weights
from dhr.network.multi_scale import mean_of_mirrored, scaled_sizes, sum_over_sizes
from dhr.training.optimizer import OptimizerRecipe
from dhr.wss.masks import Look, look_on, masks_ahead, refined, scores_of
from dhr.wss.recipe import Start, Step
from dhr.wss.trained_file import TrainedFile
from dhr.wss.workshop import Workshop


class BackboneStart(Start[nn.Module], Protocol):
    """Builds a backbone as in the `backbone` group."""


@dataclass(frozen=True)
class CamRecipe:
    """How the classifier is trained and how its maps become masks.

    Attributes:
        backbone: as in the `backbone` group, built when it is known whether the classifier has learnt already.
        optimizer: as in the `optimizer` group.
        epochs: of the classifier.
        scales: factors on the image size for the maps.
        flip: whether the mirrored image is added.
        gamma: power of the background channel, (1 - max of the maps) ** gamma.
    """

    seen: ClassVar[tuple[str, ...]] = ("recipe",)
    of_masks: ClassVar[frozenset[str]] = frozenset({"scales", "flip", "gamma"})
    backbone: BackboneStart
    optimizer: OptimizerRecipe
    epochs: Count = 5
    scales: Scales = (1.0, 0.5, 1.5, 2.0)
    flip: bool = True
    gamma: Gamma = 2.0

    def steps(self, workshop: Workshop) -> Sequence[Step]:
        """See `Recipe`: the classifier, then the masks."""
        file = workshop.file("classifier")
        model = TagClassifier(self, num_tags=workshop.learnt.table.num_tags, trained=file.has_learnt())
        # For networks that start from this classifier, as others start from ImageNet: backbone.weights=<file>.
        layers: Any = model.backbone
        parts = {"backbone.safetensors": layers.layers}
        classifier = workshop.training(file, model, epochs=self.epochs, parts=parts)
        masks = partial(masks_of, model, workshop.wanted, crf=workshop.crf)
        maps = workshop.soft_maps(partial(maps_of, model, workshop.wanted), classifier)
        return classifier, *maps, workshop.masks(masks, classifier)


class MapSettings(Protocol):
    """How the maps of a network are added up and become masks; see `CamRecipe`."""

    @property
    def scales(self) -> tuple[float, ...]:
        """Factors on the image size."""
        ...

    @property
    def flip(self) -> bool:
        """Whether the mirrored image is added."""
        ...

    @property
    def gamma(self) -> float:
        """Power of the background channel."""
        ...


class MapNetwork(pl.LightningModule):
    """What masks are made with: from (B,3,H,W) to one map per tag (B,T,h,w), of which the positive part counts."""

    recipe: MapSettings


class TagClassifier(MapNetwork):
    """Backbone and bias-free 1x1 classifier, trained on tags with the multi-label soft margin."""

    def __init__(self, recipe: CamRecipe, *, num_tags: int, trained: bool = False) -> None:
        super().__init__()
        self.recipe: CamRecipe = recipe
        self.backbone = recipe.backbone(trained=trained)
        channels: Any = self.backbone.channels
        self.classifier = CamClassifier(channels[3], num_tags, scale=1.0)

    def forward(self, image: Tensor) -> Tensor:
        """(B,3,H,W) -> CAMs (B,T,h,w), signed."""
        return self.classifier(self.backbone(image)[3])

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Loss of one batch of crops against the tags of their images."""
        loss = tag_loss(self(batch.image), batch.valid, batch.tags)
        self.log("loss", loss.detach(), batch_size=len(batch.ids), prog_bar=True)
        return loss

    def configure_optimizers(self) -> Any:
        """Optimizer and per-iteration schedule."""
        steps = max(int(self.trainer.estimated_stepping_batches), 1)
        optimizer, schedule = self.recipe.optimizer.build(self.backbone, (self.classifier,), steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def classifier_of(workshop: Workshop) -> tuple[TagClassifier, dict[str, Any]]:
    """The tag classifier of the source as it was trained, and the settings that say which one that is.

    Raises:
        InputError: the source is another method, or its classifier is missing or does not fit.
    """
    source = workshop.source
    recipe = None if source is None or source.recipe is None else source.recipe()
    if source is None or not isinstance(recipe, CamRecipe):
        name = "null" if source is None else source.name
        raise InputError(f"wss.source: {name}: has no tag classifier to start from; use wss.source=cam")
    file = TrainedFile(source.masks.folder.parent, "classifier", {})
    if not file.weights.exists():
        raise InputError(f"{file.weights}: the tag classifier is missing; {source.command} trains it")
    classifier = TagClassifier(recipe, num_tags=workshop.learnt.table.num_tags, trained=True)
    load_strictly(classifier, read_weights(file.weights), file.weights)
    views = {"scales": [*recipe.scales], "flip": recipe.flip}
    return classifier.eval(), {"classifier": file.digest(), "views": views}


@torch.no_grad()
def activation_maps(model: MapNetwork, image: Tensor, tags: Tensor) -> Tensor:
    """Class activation maps of one image, added up over scales and flips.

    Views and maps are resized alike, by the centres of pixels and cells, so that the maps of all scales are aligned.

    Args:
        model: in eval mode.
        image: (3,H,W) normalised.
        tags: (T) 0/1.

    Returns:
        (T,H,W) in [0,1], each tagged map divided by its maximum, 0 for the others.
    """
    size, flip = (image.shape[-2], image.shape[-1]), model.recipe.flip
    total = sum_over_sizes(
        model,
        image[None],
        scaled_sizes(image, model.recipe.scales),
        flip=flip,
        placed=lambda cams, _: mean_of_mirrored(resize(cams.float(), size).relu(), flip=flip),
    )[0]
    total = total * tags[:, None, None].to(total)
    top = total.amax((1, 2), keepdim=True)
    return total / top.masked_fill(top == 0, 1.0)


def mask_of(maps: Tensor, tags: Tensor, pixels: Tensor, *, crf: Crf, gamma: float, first_tag: int) -> Tensor:
    """(T,H,W) maps in [0,1], (T) tags and (3,H,W) uint8 pixels -> (H,W) uint8 mask of the tagged classes.

    With a background class its channel is (1 - max) ** gamma; without one every pixel gets a tag.
    """
    scores = maps[tags > 0]
    if first_tag:
        background = (1 - scores.amax(0, keepdim=True)).clamp_min(0) ** gamma
        scores = torch.cat([background, scores])
    return refined(scores, tags, pixels, crf=crf, first_tag=first_tag)


def maps_of(model: MapNetwork, split: Split, ids: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
    """Ids and (T,H,W) activation maps, in this order; `model` is on its device."""
    return scores_of(split, ids, looking(model))


def masks_of(model: MapNetwork, split: Split, ids: Sequence[str], *, crf: Crf) -> Iterator[tuple[str, Tensor]]:
    """Ids and (H,W) uint8 masks of `mask_of`, see `masks_ahead`; `model` is on its device."""
    finish = partial(mask_of, crf=crf, gamma=model.recipe.gamma, first_tag=split.table.first_tag)
    return masks_ahead(split, ids, looking(model), finish, workers=crf.workers)


def looking(model: MapNetwork) -> Look:
    """`activation_maps` of the network, in eval mode, where it is."""
    return look_on(next(model.parameters()).device, partial(activation_maps, model.eval()))
