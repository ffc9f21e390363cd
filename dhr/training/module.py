"""The LightningModule: one step is forward, relabel, two losses."""

from collections.abc import Callable
from typing import Any, Protocol

import pytorch_lightning as pl
import torch
from torch import Tensor

from dhr.core.colour import normalise
from dhr.core.numerics import fast_argmax
from dhr.core.sample import Batch, NetworkOutput
from dhr.dataset.classes import ClassTable
from dhr.dataset.split import Picture
from dhr.evaluation.scores import JointHistogram, Scores, joint_histogram, scores_of
from dhr.network.multi_scale import multi_scale_probabilities
from dhr.network.segmentation import SegmentationNetwork
from dhr.rebalancing.rebalancer import Relabelled
from dhr.training.optimizer import OptimizerRecipe

Relabel = Callable[[Batch, NetworkOutput], Relabelled]


class LabelSource(Protocol):
    """The labels that a step learns."""

    def __call__(self, batch: Batch, output: NetworkOutput, epoch: int) -> Tensor:
        """(B,H,W) labels."""
        ...


class SegmentationModule(pl.LightningModule):
    """Trains a segmentation network on the masks that `labels` gives for each batch.

    Args:
        network: backbone, decoder and classifier, whose losses are added up.
        labels: from a batch, the network's output and the epoch to the labels that are learnt.
        optimizer: recipe of the optimizer and its schedule.
        table: classes, for the validation scores, where there is a validation.
    """

    def __init__(
        self,
        network: SegmentationNetwork,
        *,
        labels: LabelSource,
        optimizer: OptimizerRecipe,
        table: ClassTable,
    ) -> None:
        super().__init__()
        self.network = network
        self.labels = labels
        self.optimizer = optimizer
        self.table = table
        self.steps = 1  # of the whole training, known with its trainer
        self.histogram = JointHistogram()
        self.scores: Scores | None = None  # of the last validation

    def on_train_batch_start(self, batch: Batch, _: int) -> None:
        """Tells the decoder how far the training is; steps of a run before a stop count."""
        self.network.decoder.advance(min(self.global_step / self.steps, 1.0))

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Loss of one batch."""
        output = self.network(batch.image)
        labels = self.labels(batch, output, self.current_epoch)
        segmentation = self.network.decoder.loss(output, labels)
        classification = self.network.classifier.loss(output, batch.valid, batch.tags)
        loss = segmentation + classification
        losses = {"loss": loss, "loss_segmentation": segmentation, "loss_classification": classification}
        values = {f"train/{name}": value.detach() for name, value in losses.items()}
        values["train/lr"] = torch.tensor(self.trainer.optimizers[0].param_groups[-1]["lr"])  # of the heads
        self.log_dict(values, batch_size=len(batch.ids), prog_bar=False)
        self.log("loss", values["train/loss"], batch_size=len(batch.ids), prog_bar=True, logger=False)
        return loss

    def validation_step(self, picture: Picture, _: int) -> None:
        """Scores one image at a single scale, without CRF."""
        if picture.truth is None:
            raise ValueError("validation needs the truth")
        image = normalise(picture.pixels.to(self.device))
        probabilities = multi_scale_probabilities(self.network, image, scales=(1.0,), flip=False)
        prediction = fast_argmax(probabilities, dim=0).to(torch.uint8)
        self.histogram.update(joint_histogram(prediction, picture.truth.to(self.device)))

    def on_validation_epoch_end(self) -> None:
        """Logs the scores over all ranks."""
        self.scores = scores = scores_of(*self.histogram.compute(), self.table)
        self.histogram.reset()
        means = {"miou": scores.miou, "mfpr": scores.mfpr, "mfnr": scores.mfnr}
        # Every rank has the synchronised histogram already, so nothing is left to reduce.
        self.log_dict({f"validation/{name}": value for name, value in means.items()}, prog_bar=True)

    def configure_optimizers(self) -> Any:
        """Optimizer and per-iteration schedule."""
        self.steps = max(int(self.trainer.estimated_stepping_batches), 1)
        network = self.network
        optimizer, schedule = self.optimizer.build(network.backbone, (network.decoder, network.classifier), self.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
