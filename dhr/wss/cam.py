"""Masks from tags alone: a classifier's class activation maps over scales, made whole by a dense CRF."""

from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from dhr.classifier.cam import CamClassifier
from dhr.core.losses import tag_loss
from dhr.core.numerics import resize, winner
from dhr.core.ranges import Count, Gamma, Scales
from dhr.core.sample import Batch
from dhr.crf.interface import Crf
from dhr.training.optimizer import OptimizerRecipe


@dataclass(frozen=True)
class CamRecipe:
    """How the classifier is trained and how its maps become masks.

    Attributes:
        backbone: as in the `backbone` group.
        optimizer: as in the `optimizer` group.
        epochs: of the classifier.
        scales: factors on the image size for the maps.
        flip: whether the mirrored image is added.
        gamma: power of the background channel, (1 - max of the maps) ** gamma.
    """

    backbone: nn.Module
    optimizer: OptimizerRecipe
    epochs: Count = 5
    scales: Scales = (1.0, 0.5, 1.5, 2.0)
    flip: bool = True
    gamma: Gamma = 2.0


class TagClassifier(pl.LightningModule):
    """Backbone and bias-free 1x1 classifier, trained on tags with the multi-label soft margin."""

    def __init__(self, recipe: CamRecipe, *, num_tags: int) -> None:
        super().__init__()
        self.recipe = recipe
        self.backbone = recipe.backbone
        channels: Any = recipe.backbone.channels
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


@torch.no_grad()
def activation_maps(model: TagClassifier, image: Tensor, tags: Tensor) -> Tensor:
    """Class activation maps of one image, added up over scales and flips.

    Views and maps are resized alike, by the centres of pixels and cells, so that maps of all scales lie on each other.

    Args:
        model: in eval mode.
        image: (3,H,W) normalised.
        tags: (T) 0/1.

    Returns:
        (T,H,W) in [0,1], each tagged map divided by its maximum, 0 for the others.
    """
    size, total = (image.shape[-2], image.shape[-1]), torch.zeros((), device=image.device)
    for scale in model.recipe.scales:
        wide = (max(int(size[0] * scale), 1), max(int(size[1] * scale), 1))
        view = resize(image[None], wide)
        batch = torch.cat([view, view.flip(-1)]) if model.recipe.flip else view
        cams = resize(model(batch).float(), size).relu()
        total = total + cams[0] + (cams[1].flip(-1) if model.recipe.flip else 0.0)
    total = total * tags[:, None, None].to(total)
    top = total.amax((1, 2), keepdim=True)
    return total / top.masked_fill(top == 0, 1.0)


def mask_of(maps: Tensor, tags: Tensor, pixels: Tensor, *, crf: Crf, gamma: float, first_tag: int) -> Tensor:
    """(T,H,W) maps in [0,1], (T) tags and (3,H,W) uint8 pixels -> (H,W) uint8 mask of the tagged classes.

    With a background class its channel is (1 - max) ** gamma; without one every pixel gets a tag.
    """
    chosen = tags.nonzero()[:, 0]
    scores = maps[chosen]
    labels = chosen + first_tag
    if first_tag:
        background = (1 - scores.amax(0, keepdim=True)).clamp_min(0) ** gamma
        scores, labels = torch.cat([background, scores]), torch.cat([labels.new_zeros(1), labels])
    valid = torch.ones(1, *pixels.shape[1:], dtype=torch.bool)
    marginals = crf.on(pixels[None], valid)(scores[None].cpu(), torch.ones(1, len(labels), dtype=torch.bool))
    return labels.cpu()[winner(marginals[0], dim=0)].to(torch.uint8)
