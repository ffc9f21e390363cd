"""Masks from tags by RS+EPM (Jo et al. 2022): one network whose maps and decoder teach each other."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from dhr.classifier.none import NoClassifier
from dhr.core.errors import InputError
from dhr.core.labels import IGNORE
from dhr.core.ranges import Count, Gamma, Scales, SmallCount, UnitInterval, Weight
from dhr.core.sample import Batch
from dhr.network.segmentation import SegmentationNetwork
from dhr.training.optimizer import OptimizerRecipe
from dhr.wss.cam import MapNetwork, masks_of
from dhr.wss.class_mix import class_mix
from dhr.wss.recipe import Step
from dhr.wss.recur_seed import Look, reconstruction_loss
from dhr.wss.self_correlation import SelfCorrelation
from dhr.wss.workshop import Workshop


@dataclass(frozen=True)
class RsEpm:
    """How the network is trained and how its maps become masks.

    Attributes:
        correlation: what is one object with the cells that a map is sure of.
        epochs: of the network.
        seed_start: share of the training after which RecurSeed begins, with an epoch.
        mix_start: share of the training after which EdgePredictMix begins, likewise; 1: never.
        stride: pixels of a crop per pixel that PAMR sees.
        certain_foreground: least value of a map at a pixel that the decoder learns as its class.
        certain_background: largest value of all maps at a pixel that the decoder learns as background.
        certain_edge: least probability of a class after PAMR at a pixel whose label is mixed.
        reconstruction: weight of the distance of the maps from what they shall become; 0: they learn tags alone.
        scales: factors on the image size for the maps.
        flip: whether the mirrored image is added.
        gamma: power of the background channel, (1 - max of the maps) ** gamma.
    """

    seen: ClassVar[tuple[str, ...]] = ("backbone",)
    of_masks: ClassVar[frozenset[str]] = frozenset({"scales", "flip", "gamma"})
    correlation: SelfCorrelation
    epochs: Count = 20
    seed_start: UnitInterval = 0.25
    mix_start: UnitInterval = 0.75
    stride: SmallCount = 4
    certain_foreground: UnitInterval = 0.55
    certain_background: UnitInterval = 0.10
    certain_edge: UnitInterval = 0.8
    reconstruction: Weight = 0.25
    scales: Scales = (1.0, 0.5, 1.5, 2.0)
    flip: bool = True
    gamma: Gamma = 2.0

    def steps(self, workshop: Workshop) -> Sequence[Step]:
        """See `Recipe`: the network, then the masks.

        Raises:
            InputError: the network has no class activation maps, or its decoder would never learn.
        """
        if (self.epochs - 1) / self.epochs < self.seed_start:
            raise InputError(
                f"wss.recipe.seed_start: {self.seed_start}: none of {self.epochs} epochs begins there, so the decoder "
                "would learn nothing; use more wss.recipe.epochs, or a smaller wss.recipe.seed_start"
            )
        file = workshop.file("network", network=workshop.network_settings)
        network = workshop.network(trained=file.has_learnt())
        if isinstance(network.classifier, NoClassifier):
            raise InputError("classifier: none: wss=rsepm learns class activation maps; use classifier=cam")
        model = RecurSeedAndEdgePredictMix(
            network, self, optimizer=workshop.optimizer, first_tag=workshop.learnt.table.first_tag
        )
        trained = workshop.training(file, model, epochs=self.epochs)
        return trained, workshop.masks(partial(masks_of, model, workshop.wanted, crf=workshop.crf), trained)


class RecurSeedAndEdgePredictMix(MapNetwork):
    """A segmentation network, its CAMs and its decoder trained together, on tags alone.

    The CAMs that seeds are made from are those of the network itself, in the step that learns them: no average of its
    weights and no second forward pass.
    """

    recipe: RsEpm

    def __init__(
        self, network: SegmentationNetwork, recipe: RsEpm, *, optimizer: OptimizerRecipe, first_tag: int
    ) -> None:
        super().__init__()
        self.network = network
        self.recipe = recipe
        self.optimizer = optimizer
        self.first_tag = first_tag
        self.trial_epoch = recipe.epochs - 1

    def kind_of(self, epoch: int) -> int:
        """See `Phased`: 0: tags alone; 1: also RecurSeed; 2: also EdgePredictMix, which needs the seeds."""
        recipe, done = self.recipe, epoch / self.recipe.epochs
        return (done >= recipe.seed_start) + (done >= max(recipe.seed_start, recipe.mix_start))

    def forward(self, image: Tensor) -> Tensor:
        """(B,3,H,W) -> maps (B,T,h,w) of which masks are made."""
        return self.network(image).logits.float().softmax(1)[:, self.first_tag :]

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Loss of one batch: its tags; then also its seeds; then all of it again for the mixed crops."""
        recipe, kind = self.recipe, self.kind_of(self.trial_epoch if self._trainer is None else self.current_epoch)
        output = self.network(batch.image)
        losses = {"tags": self.network.classifier.loss(output, batch.valid, batch.tags)}
        labels = torch.full_like(batch.wss_mask, IGNORE)  # the decoder takes part from the start, and learns nothing
        if kind >= 1:
            look = Look(batch, output.detach(), first_tag=self.first_tag, stride=recipe.stride)
            seeds = look.seeds(recipe.correlation)
            maps = look.on_cams(seeds)
            labels = look.certain(seeds, foreground=recipe.certain_foreground, background=recipe.certain_background)
            losses["maps"] = recipe.reconstruction * reconstruction_loss(output.cams, maps, batch.valid, batch.tags)
        losses["labels"] = self.network.decoder.loss(output, labels)
        if kind == 2:
            edges = look.edge_predicted(recipe.certain_edge)
            mixed = class_mix(batch.image, edges, maps, batch.tags, valid=batch.valid, first_tag=self.first_tag)
            output = self.network(mixed.image)
            losses["mixed_tags"] = self.network.classifier.loss(output, batch.valid, mixed.tags)
            far = reconstruction_loss(output.cams, mixed.maps, batch.valid, mixed.tags)
            losses["mixed_maps"] = recipe.reconstruction * far
            losses["mixed_labels"] = self.network.decoder.loss(output, mixed.labels)
        loss = torch.stack([*losses.values()]).sum()
        self.log("loss", loss.detach(), batch_size=len(batch.ids), prog_bar=True)
        return loss

    def configure_optimizers(self) -> Any:
        """Optimizer and per-iteration schedule."""
        steps = max(int(self.trainer.estimated_stepping_batches), 1)
        network = self.network
        optimizer, schedule = self.optimizer.build(network.backbone, (network.decoder, network.classifier), steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
