"""When labels are made anew (refresh=): in every step, or for all images at once every few epochs."""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from dhr.core.ranges import Count
from dhr.core.sample import Batch
from dhr.dataset.split import MaskFolder, TrainDataset
from dhr.disk.layout import RunFolder
from dhr.disk.mask import encode_mask
from dhr.disk.output import Keep, Output
from dhr.rebalancing.statistics import LabelStatistics
from dhr.runtime.ranks import Ranks
from dhr.runtime.signals import stopping
from dhr.training.average import broadcast_buffers
from dhr.training.label_maker import GivenMasks, Labeller, RebalancedMasks, eval_mode
from dhr.training.module import LabelSource, SegmentationModule
from dhr.training.statistics import StepStatistics, log_statistics
from dhr.training.whole_images import WholeImages


@dataclass(frozen=True)
class LabelPlan:
    """How a training gets its labels: the labels of a step, the crops to train on, and callbacks that make labels."""

    labels: LabelSource
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
            start_epoch: first epoch that learns them; earlier ones learn the WSS masks.
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
        statistics = StepStatistics(labeller.relabel.seed)
        return LabelPlan(RebalancedMasks(labeller, start_epoch, statistics.see), train, [statistics])


@dataclass(frozen=True)
class Rounds:
    """All images are labelled every few epochs; the steps in between learn these labels.

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
    """Which masks an epoch learns. It depends on the epoch alone, so loader workers need no message.

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

    Logs the statistics of a round's labels.

    At that time the checkpoint of the epoch before is written, no step was made since, and the first batch of the epoch
    is not loaded yet. So an interrupted round is completed with the weights that began it, and no worker reads a label
    that is not written yet.

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
        """Makes the labels of a round that begins here; labels that exist already are kept."""
        if not self.masks.begins(trainer.current_epoch) or not isinstance(module, SegmentationModule):
            return
        ranks = Ranks(trainer.global_rank, trainer.world_size, trainer.strategy.root_device)
        network = self.labeller.maker.network(module.network, self.labeller.average)
        broadcast_buffers(network)
        split, masks = self.images.split, self.masks(trainer.current_epoch)
        layout = split.layout
        output = Output(  # all labels of a round come from one state of the network
            folder=masks.folder,
            settings={"network": digest_of_state(network) if ranks.first else ""},
            sources=lambda image_id: [layout.image(split.name, image_id), layout.tags(split.name, image_id)],
            what="labels",
        )

        statistics: list[Tensor] = []  # of the images that are labelled here and now, not before an interruption

        def label(image_id: str, keep: Keep) -> None:
            batch = Batch.of([self.images.sample(image_id)], module.device)
            labels = self.labeller.whole(batch, module.network)
            statistics.append(LabelStatistics.of(labels, self.labeller.relabel.seed).stacked())
            mask = labels.pseudo_mask[0].to(torch.uint8).cpu().numpy()
            keep(image_id, encode_mask(mask, split.table.palette))

        def make(todo: Sequence[str], keep: Keep) -> Iterator[None]:
            with ThreadPoolExecutor(self.labeller.threads) as pool:  # the CRF of an image runs beside the network
                yield from pool.map(partial(label, keep=keep), todo)

        # Labels of other weights are those of a run whose checkpoint was removed.
        anew = ranks.first and len(output.differing()) > 0
        title = f"labels {masks.folder.name}"
        # `stopping`: a signal ends it at once. It can take hours, and labels that are written are kept.
        with eval_mode(network), stopping():
            output.fill(self.images.ids, make, ranks, title=title, overwrite=anew)
        log_statistics(trainer, statistics, trainer.global_step)


def digest_of_state(network: nn.Module) -> str:
    """Digest of all parameters and buffers; of networks of one architecture, equal digests mean equal outputs."""
    digest = hashlib.blake2b(digest_size=16)
    for name, value in network.state_dict().items():
        digest.update(name.encode())
        digest.update(value.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
