"""The LightningDataModule: training crops in a reproducible order, validation images each exactly once."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Sampler

from dhr.core.errors import InputError
from dhr.core.sample import Batch, LoadedBatch
from dhr.dataset.split import Picture, PictureDataset, TrainDataset
from dhr.runtime.signals import outlive

Loaded = LoadedBatch | Picture
SMALLEST_SHARE = 2  # batch norm of a pooled 1x1 map needs two images


class EpochSampler(Sampler[tuple[int, int]]):
    """Yields (epoch, position) in an order that depends on seed and epoch alone; ranks take turns.

    So a step sees the same crops however many processes share it. The last positions that would not fill a batch are
    left out of that epoch. `batch_size` is of all ranks together.
    """

    def __init__(self, size: int, *, batch_size: int, seed: int, rank: int, ranks: int) -> None:
        self.size = size - size % batch_size
        self.total = size
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.ranks = ranks
        self.epoch = 0
        self.done = (0, 0)

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer at the start of every epoch, after a resume as well."""
        self.epoch = epoch

    def skip(self, epoch: int, batches: int) -> None:
        """Leaves out the first batches of one epoch, which an interrupted run has made."""
        self.done = (epoch, batches)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.total)[: self.size]
        epoch, batches = self.done
        first = batches * self.batch_size if epoch == self.epoch else 0
        return ((self.epoch, int(position)) for position in order[first + self.rank :: self.ranks])

    def __len__(self) -> int:
        return self.size // self.ranks


class LazyWorkersLoader(DataLoader[LoadedBatch]):
    """Starts its workers when the first batch of an epoch is asked for.

    Lightning makes the first iterator when it counts the steps of the schedule, long before the epoch of a resumed run
    is known; workers would read crops of epoch 0 by then, and labels of a round that is not made yet.
    """

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Batches; a generator, so nothing happens before the first one is asked for."""
        yield from super().__iter__()


def share_of_batch(batch_size: int, ranks: int, key: str, *, least: int = 1) -> int:
    """Crops per step for each of `ranks` processes; `batch_size` is of all of them together.

    Raises:
        InputError: the batch does not divide evenly, or leaves less than `least` crops to each process.
    """
    share, rest = divmod(batch_size, ranks)
    if rest or share < least:
        fitting = max(-(-batch_size // ranks), least) * ranks
        raise InputError(
            f"{key}: {batch_size}: is of all processes together and has to be shared out evenly among {ranks}, "
            f"at least {least} to each; use {key}={fitting}, or another number of processes"
        )
    return share


def whole_batches(images: int, batch_size: int) -> int:
    """Steps of an epoch.

    Raises:
        InputError: there are not enough images for one.
    """
    if images < batch_size:
        raise InputError(
            f"dataset.batch_size: {batch_size}: there are only {images} images to learn from; "
            f"use dataset.batch_size={max(images, 1)} or less"
        )
    return images // batch_size


def outliving(_: int) -> None:
    """Keeps a worker of a loader alive after a signal, until its process has finished the step."""
    outlive()


class SegmentationData(pl.LightningDataModule):
    """Loaders for training and validation.

    Args:
        train: training crops.
        validation: whole images with truth, None to train without validation.
        batch_size: crops per step, of all ranks together.
        workers: loader processes per rank.

    Raises:
        InputError: there are not enough crops for one batch.
    """

    def __init__(
        self, *, train: TrainDataset, validation: PictureDataset | None, batch_size: int, workers: int
    ) -> None:
        super().__init__()
        self.train = train
        self.validation = validation
        self.batch_size = batch_size
        self.workers = workers
        whole_batches(len(train), batch_size)

    def train_dataloader(self) -> DataLoader[LoadedBatch]:
        """Batches of crops."""
        rank, ranks = self._place()
        return LazyWorkersLoader(
            self.train,  # type: ignore[arg-type]
            batch_size=self.share(ranks),
            sampler=EpochSampler(
                len(self.train), batch_size=self.batch_size, seed=self.train.seed, rank=rank, ranks=ranks
            ),
            collate_fn=LoadedBatch.stack,
            num_workers=self.workers,
            worker_init_fn=outliving,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=self.workers > 0,
        )

    def val_dataloader(self) -> list[DataLoader[Picture]]:
        """Single images; each rank has its own share, none twice."""
        if self.validation is None:
            return []
        rank, ranks = self._place()
        share = range(rank, len(self.validation), ranks)
        return [
            DataLoader(
                self.validation,
                batch_size=None,
                sampler=list(share),
                num_workers=self.workers,
                worker_init_fn=outliving,
            )
        ]

    def transfer_batch_to_device(self, batch: Loaded, device: torch.device, _: int) -> Loaded:
        """Moves a batch of crops; pictures stay where they are, scoring moves what it needs."""
        return batch.to(device) if isinstance(batch, LoadedBatch) else batch

    def on_after_batch_transfer(self, batch: Loaded, _: int) -> Batch | Picture:
        """Makes a batch of crops ready for a step, on the device where it is; pictures stay as they are."""
        return batch.ready() if isinstance(batch, LoadedBatch) else batch

    def share(self, ranks: int) -> int:
        """Crops per step for each of `ranks` processes.

        Raises:
            InputError: the batch cannot be shared out among them.
        """
        synchronised = ranks == 1 or torch.cuda.is_available()  # on a CPU each process has a batch norm of its own
        least = 1 if synchronised else SMALLEST_SHARE
        return share_of_batch(self.batch_size, ranks, "dataset.batch_size", least=least)

    def _place(self) -> tuple[int, int]:
        trainer = self.trainer
        return (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)
