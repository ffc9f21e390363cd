"""Training on masks with unknown pixels: what is missing is complemented by a teacher, as much as it is sure of it."""

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from dhr.core.labels import IGNORE
from dhr.core.numerics import fast_argmax
from dhr.core.sample import Batch, NetworkOutput
from dhr.crf.interface import Crf, naming_images
from dhr.dataset.classes import ClassTable
from dhr.network.segmentation import SegmentationNetwork
from dhr.rebalancing.slots import Slots
from dhr.training.average import EmaAverage
from dhr.training.divergence import DIVERGED
from dhr.training.label_maker import Ema, GivenMasks
from dhr.training.module import SegmentationModule
from dhr.training.optimizer import OptimizerRecipe


@dataclass(frozen=True)
class Teacher:
    """The average of the trained network, which knows the tags of an image, and the CRF that refines what it says.

    Attributes:
        average: of the weights.
        crf: refines its probabilities.
        first_tag: class index of the first tag.
    """

    average: EmaAverage
    crf: Crf
    first_tag: int

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Itself: the copy of the module that is averaged has no teacher of its own."""
        return self

    @torch.no_grad()
    def complement(self, batch: Batch, output: NetworkOutput, network: SegmentationNetwork) -> tuple[Tensor, Tensor]:
        """The masks of the crops without unknown pixels, and the weight of every label.

        An unknown pixel, which is one of the image that has the label IGNORE, gets the best class after the CRF among
        the tags of its image and the background. Its weight is the probability of the likeliest tag before the CRF, as
        published (MARS, equation 6): where the teacher sees background, the pixel hardly teaches it, for what lost its
        label is often an object that the debiasing took for one of its surroundings.

        Args:
            batch: crops with their masks.
            output: of the teacher.
            network: the teacher, which knows where its cells lie.

        Returns:
            (B,H,W) labels, IGNORE off the image alone; (B,H,W) weights in [0,1], 1 where the mask has a label.
        """
        unknown = (batch.wss_mask == IGNORE) & batch.valid
        size = (batch.pixels.shape[-2], batch.pixels.shape[-1])
        slots = Slots.of(batch.tags, first_tag=self.first_tag, most_tags=batch.most_tags)
        asked = slots.present & unknown.flatten(1).any(1, keepdim=True)  # a CRF is spared where nothing is unknown
        with torch.autocast(batch.image.device.type, enabled=False), naming_images(batch.ids, DIVERGED):
            maps = output.logits.float().softmax(1)
            probable = slots.of_classes(network.cells.on_image(maps, size, stride=network.decoder.stride))
            refined = self.crf.on(batch.pixels, batch.valid)(probable, asked)
        best = slots.to_classes(fast_argmax(refined.masked_fill(~slots.present[:, :, None, None], -1), dim=1))
        labels = torch.where(unknown, best.to(batch.wss_mask), batch.wss_mask)
        return labels, torch.where(unknown, probable[:, 1:].amax(1), 1.0)


class ComplementedModule(SegmentationModule):
    """Trains a network on masks with unknown pixels, which its average complements after some epochs.

    Args:
        network: backbone, decoder and classifier.
        teacher: complements the masks.
        start_epoch: first epoch in which it does; before, unknown pixels teach nothing.
        optimizer: recipe of the optimizer and its schedule.
        table: classes.
    """

    def __init__(
        self, network: SegmentationNetwork, *,
        teacher: Teacher, start_epoch: int, optimizer: OptimizerRecipe, table: ClassTable,
    ) -> None:  # fmt: skip
        super().__init__(network, labels=GivenMasks(), optimizer=optimizer, table=table)
        self.teacher = teacher
        self.start_epoch = start_epoch
        self.trial_epoch = start_epoch

    def kind_of(self, epoch: int) -> int:
        """See `Phased`: 0: masks as they are; 1: complemented ones."""
        return int(epoch >= self.start_epoch)

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Loss of one batch: the weighted cross entropy of the complemented masks, and that of the tags."""
        output = self.network(batch.image)
        labels, weights = batch.wss_mask, None
        outside = self._trainer is None  # where nothing is averaged yet
        if self.kind_of(self.trial_epoch if outside else self.current_epoch):
            teacher = self.network if outside else self.teacher.average.network
            answer = self.network(batch.image) if outside else Ema().output(batch, output, self.teacher.average)
            labels, weights = self.teacher.complement(batch, answer, teacher)
        segmentation = self.network.decoder.loss(output, labels, weights)
        loss = segmentation + self.network.classifier.loss(output, batch.valid, batch.tags)
        self.log("loss", loss.detach(), batch_size=len(batch.ids), prog_bar=True)
        return loss
