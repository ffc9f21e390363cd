"""When labels are made anew (refresh=): in every step, or for all images at once every few epochs."""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import pytorch_lightning as pl
import torch
from torch import nn

from dhr.core.ranges import Count
from dhr.core.sample import Batch
from dhr.dataset.split import MaskFolder, TrainDataset
from dhr.disk.layout import RunFolder
from dhr.disk.mask import encode_mask
from dhr.disk.output import Keep, Make, Output
from dhr.runtime.ranks import Ranks
from dhr.runtime.signals import stopping
from dhr.training.average import broadcast_buffers
from dhr.training.label_maker import GivenMasks, Labeller, RebalancedMasks, eval_mode
from dhr.training.module import Labels, SegmentationModule
from dhr.training.whole_images import WholeImages


@dataclass(frozen=True)
class LabelPlan:
    """What a training does about labels: what a step learns, on which crops, and what else has to happen."""

    labels: Labels
    train: TrainDataset
    callbacks: Sequence[pl.Callback] = ()


class Refresh(Protocol):
    """Decides when labels are made."""

    def plan(
        self, labeller: Labeller, start_epoch: int, train: TrainDataset, images: WholeImages, run: Path
    ) -> LabelPlan:
        """The plan of a training.

        Args:
            labeller: makes labels.
            start_epoch: first epoch that learns them; the ones before learn the WSS masks.
            train: crops with the WSS masks.
            images: the same images, whole.
            run: folder of the run.
        """
        ...


@dataclass(frozen=True)
class EveryStep:
    """Labels are made anew for every batch, as released."""

    def plan(
        self, labeller: Labeller, start_epoch: int, train: TrainDataset, images: WholeImages, run: Path
    ) -> LabelPlan:
        """See `Refresh`."""
        return LabelPlan(RebalancedMasks(labeller, start_epoch), train)


@dataclass(frozen=True)
class Rounds:
    """All images are labelled every few epochs; the steps between learn these labels as given masks.

    Attributes:
        epochs: that learn the labels of one round.
    """

    epochs: Count = 5

    def plan(
        self, labeller: Labeller, start_epoch: int, train: TrainDataset, images: WholeImages, run: Path
    ) -> LabelPlan:
        """See `Refresh`; crops need no USS features, since no step makes labels."""
        masks = RoundMasks(images.wss_masks, run, start_epoch, self.epochs)
        crops = replace(train, features=None, masks_of_epoch=masks)
        return LabelPlan(GivenMasks(), crops, [RoundMaker(masks, images, labeller)])


@dataclass(frozen=True)
class RoundMasks:
    """Which masks an epoch learns. It needs only the epoch, so workers of a loader know it without being told.

    Attributes:
        given: WSS masks, learnt before the first round.
        run: folder of the run.
        start_epoch: first epoch of round 0.
        epochs: of a round.
    """

    given: MaskFolder
    run: Path
    start_epoch: int
    epochs: int

    def __call__(self, epoch: int) -> MaskFolder:
        """The masks of an epoch."""
        return self.given if epoch < self.start_epoch else self.of_round((epoch - self.start_epoch) // self.epochs)

    def of_round(self, number: int) -> MaskFolder:
        """The masks of a round."""
        cure = "the weights that made it are gone; train again under another name"
        return MaskFolder(RunFolder(self.run).labels(number), self.given.num_classes, cure, "label of the run")

    def begins(self, epoch: int) -> bool:
        """Whether a round has to be made before this epoch."""
        return epoch >= self.start_epoch and (epoch - self.start_epoch) % self.epochs == 0


class RoundMaker(pl.Callback):
    """Labels all training images at the start of the epochs at which a round begins, shared out over the processes.

    By then the checkpoint of the epoch before is written and no step was taken since, and the first batch of the epoch
    is asked for afterwards. So a round that was interrupted is completed by the weights that began it, and no worker
    reads a label that is not there.

    Args:
        masks: of the rounds.
        images: to label.
        labeller: makes the labels.
    """

    def __init__(self, masks: RoundMasks, images: WholeImages, labeller: Labeller) -> None:
        self.masks = masks
        self.images = images
        self.labeller = labeller

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Makes the labels of a round that begins here; those that are there stay."""
        if not self.masks.begins(trainer.current_epoch) or not isinstance(module, SegmentationModule):
            return
        ranks = Ranks(trainer.global_rank, trainer.world_size, trainer.strategy.root_device)
        network = self.labeller.maker.network(module.network, self.labeller.average)
        broadcast_buffers(network)
        masks = self.masks(trainer.current_epoch)
        output = self._output(masks, digest_of_state(network) if ranks.first else "")
        # Labels of other weights are those of a run whose checkpoint somebody removed.
        anew = ranks.first and len(output.differing()) > 0
        title = f"labels {masks.folder.name}"
        with eval_mode(network), stopping():  # what is made stays, and it can take hours
            output.fill(self.images.ids, self._maker(module), ranks, title=title, overwrite=anew)

    def _output(self, masks: MaskFolder, network: str) -> Output:
        """Labels of a round come from one state of the network."""
        split = self.images.split
        return Output(
            folder=masks.folder,
            settings={"network": network},
            sources=lambda image_id: [
                split.layout.image(split.name, image_id),
                split.layout.tags(split.name, image_id),
            ],
            what="labels",
        )

    def _maker(self, module: SegmentationModule) -> Make:
        """Makes labels of images; the CRF of one runs while the network sees the next."""
        palette = self.images.split.table.palette

        def make(todo: Sequence[str], keep: Keep) -> Iterator[None]:
            def label(image_id: str) -> None:
                batch = Batch.of([self.images.sample(image_id)], module.device)
                mask = self.labeller.whole(batch, module.network).pseudo_mask[0]
                keep(image_id, encode_mask(mask.to(torch.uint8).cpu().numpy(), palette))

            with ThreadPoolExecutor(self.labeller.threads) as pool:
                yield from pool.map(label, todo)

        return make


def digest_of_state(network: nn.Module) -> str:
    """Digest of all parameters and buffers: two networks that have the same say the same of an image."""
    digest = hashlib.blake2b(digest_size=16)
    for name, value in network.state_dict().items():
        digest.update(name.encode())
        digest.update(value.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
