"""The LightningDataModule: training crops in a reproducible order, validation images each exactly once."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Sampler

from dhr.dataset.photometric import HUE, jitter
from dhr.dataset.reader import Picture, PictureDataset, TrainDataset
from dhr.errors import InputError
from dhr.sample import Batch


class EpochSampler(Sampler[tuple[int, int]]):
    """Yields (epoch, position) in an order that depends on seed and epoch alone; ranks take turns.

    The last positions that would not fill a batch on every rank are left out of that epoch.
    """

    def __init__(self, size: int, *, batch_size: int, seed: int, rank: int, ranks: int) -> None:
        self.size = size - size % (batch_size * ranks)
        self.total = size
        self.seed = seed
        self.rank = rank
        self.ranks = ranks
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer at the start of every epoch, after a resume as well."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.total)[: self.size]
        return ((self.epoch, int(position)) for position in order[self.rank :: self.ranks])

    def __len__(self) -> int:
        return self.size // self.ranks


class LateLoader(DataLoader[Batch]):
    """Starts its workers when the first batch of an epoch is asked for.

    Lightning makes the first iterator when it counts the steps of the schedule, long before the epoch of a resumed run
    is known; workers would read crops of epoch 0 by then, and labels of a round that is not made yet.
    """

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Batches; a generator, so nothing happens before the first one is asked for."""
        yield from super().__iter__()


class SegmentationData(pl.LightningDataModule):
    """Loaders for training and validation.

    Args:
        train: training crops.
        validation: whole images with truth, None to train without validation.
        batch_size: crops per rank and step.
        workers: loader processes per rank.

    Raises:
        InputError: there are not enough crops for one batch, here or later for one on every rank.
    """

    def __init__(
        self, *, train: TrainDataset, validation: PictureDataset | None, batch_size: int, workers: int
    ) -> None:
        super().__init__()
        self.train = train
        self.validation = validation
        self.batch_size = batch_size
        self.workers = workers
        self.refuse_too_few(ranks=1)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Batches of crops."""
        rank, ranks = self._place()
        self.refuse_too_few(ranks)
        return LateLoader(
            self.train,  # type: ignore[arg-type]
            batch_size=self.batch_size,
            sampler=EpochSampler(
                len(self.train), batch_size=self.batch_size, seed=self.train.seed, rank=rank, ranks=ranks
            ),
            collate_fn=Batch.stack,
            num_workers=self.workers,
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
            )
        ]

    def transfer_batch_to_device(self, batch: Batch | Picture, device: torch.device, _: int) -> Batch | Picture:
        """Moves a batch of crops; pictures stay where they are, scoring moves what it needs."""
        return batch.to(device) if isinstance(batch, Batch) else batch

    def on_after_batch_transfer(self, batch: Batch | Picture, _: int) -> Batch | Picture:
        """Jitters the colours of crops, all at once and where they are now."""
        if isinstance(batch, Picture) or batch.jitter is None:
            return batch
        hue = bool(self.train.transform.jitter[HUE])
        return replace(batch, pixels=jitter(batch.pixels, batch.valid, batch.jitter, hue=hue), jitter=None)

    def refuse_too_few(self, ranks: int) -> None:
        """Makes sure that every process has a batch.

        Raises:
            InputError: there are fewer images than that takes.
        """
        if len(self.train) < self.batch_size * ranks:
            shared = f" on each of {ranks} processes" if ranks > 1 else ""
            raise InputError(
                f"dataset.batch_size: {self.batch_size}: there are only {len(self.train)} images to learn from; "
                f"use dataset.batch_size={max(len(self.train) // ranks, 1)} or less{shared}"
            )

    def _place(self) -> tuple[int, int]:
        trainer = self.trainer
        return (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)
