"""Runs the stages of a training one after the other: each continues where it stopped, and its product is stored."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from safetensors.torch import save
from torch.utils.data import DataLoader

from dhr.core.errors import InputError
from dhr.dataset.datamodule import LazyWorkersLoader, outliving, share_of_batch
from dhr.dataset.split import Split
from dhr.disk.atomic import update_record, write_atomically
from dhr.disk.layout import RunFolder
from dhr.disk.weights.state import load_strictly, read_weights
from dhr.runtime.ranks import Ranks
from dhr.training.curves import Curves, join_metrics
from dhr.training.fitting import Fitting, MakeTrainer, is_first_process
from dhr.uss.training.crops import BlockSampler, Crops, Length, UnlabelledCropDataset
from dhr.uss.training.module import FrozenModel, UssModule

log = logging.getLogger("dhr.train_uss")
Stage = TypeVar("Stage", bound=UssModule)


class Lasting(Protocol):
    """Settings of a stage that say how long it lasts."""

    @property
    def epochs(self) -> int | None:
        """Epochs over all crops; None for no limit."""
        ...

    @property
    def steps(self) -> int | None:
        """Largest number of steps; None for no limit."""
        ...


@dataclass
class StageRunner:
    """What every stage needs.

    Attributes:
        folder: <folder>/<stage>/ holds the product, checkpoints and curves of a stage.
        split: images to learn from.
        tokens: the frozen backbone.
        make_trainer: makes a new trainer for every stage.
        batch_size: crops per step, of all processes together.
        workers: loader processes.
        seed: of all random numbers.
        ranks: the processes that trained the last stage.
        described: configuration of the tokens, as plain values.
        place: name in front of the keys of the recipe, for messages.
    """

    folder: Path
    split: Split
    tokens: FrozenModel
    make_trainer: MakeTrainer
    batch_size: int
    workers: int
    seed: int
    ranks: Ranks
    described: Any
    place: str

    def views(self, crops: Crops) -> UnlabelledCropDataset:
        """The crops of the split, for the patch of the tokens."""
        return UnlabelledCropDataset(self.split, crops, crops.side(self.tokens.patch_size), self.seed)

    def loader(self, dataset: Any, most: int | None = None) -> DataLoader[Any]:
        """Crops of the first epoch, in order: all, or `most` to twice as many of them, spread evenly."""
        items = [(0, position) for position in range(0, len(dataset), max(len(dataset) // (most or len(dataset)), 1))]
        return DataLoader(dataset, batch_size=self.batch_size, sampler=items, num_workers=self.workers)

    def run(self, name: str, stage: Stage, dataset: Any, settings: Lasting) -> Stage:
        """Trains a stage, or continues it, and stores its product; the product of a finished stage is only read.

        Args:
            name: of its folder.
            stage: as it starts.
            dataset: of the crops.
            settings: say how long it lasts.

        Returns:
            The stage with what it has learnt, in eval mode on the CPU.

        Raises:
            InputError: there are too few crops for a step, neither epochs nor steps are set, or the product or
                checkpoint of an earlier run is damaged.
        """
        run, product = RunFolder(self.folder / name), self._product(name)
        if self.is_done(name):
            load_strictly(stage.product, read_weights(product), product)
            log.info(f"{name}: done already ({product})")
            return stage.eval()
        self._fit(run, stage, dataset, settings)
        stage.cpu().eval()
        # Every process writes the same file, so that none has to wait for another one before it reads the file.
        weights = {key: value.contiguous() for key, value in stage.product.state_dict().items()}
        write_atomically(product, save(weights))
        return stage

    def is_done(self, name: str) -> bool:
        """Whether the product of a stage is stored."""
        return self._product(name).exists()

    def _product(self, name: str) -> Path:
        return self.folder / name / "product.safetensors"

    def _fit(self, run: RunFolder, stage: UssModule, dataset: Any, settings: Lasting) -> None:
        fitting = Fitting(self.make_trainer, run.checkpoints, seed=self.seed, logger=Curves(run), max_epochs=1)
        trainer, processes = fitting.trainer, fitting.processes
        share = share_of_batch(self.batch_size, processes, f"{self.place}.batch_size")
        if len(dataset) < self.batch_size:
            raise InputError(
                f"{self.place}.batch_size: {self.batch_size}: there are only {len(dataset)} crops to learn from; "
                f"use {self.place}.batch_size={max(len(dataset), 1)} or less"
            )
        if settings.epochs is None and settings.steps is None:
            key = f"{self.place}.{run.root.name}"
            raise InputError(f"{key}.epochs: null: how long shall it be trained? set {key}.epochs or {key}.steps")
        length = Length.of(len(dataset) // self.batch_size, epochs=settings.epochs, steps=settings.steps)
        trainer.fit_loop.max_epochs = length.blocks
        stage.steps_per_epoch = length.steps_per_epoch
        loader = LazyWorkersLoader(
            dataset,
            batch_size=share,
            sampler=BlockSampler(
                len(dataset), length, batch_size=self.batch_size, seed=self.seed, rank=trainer.global_rank,
                ranks=processes,
            ),
            num_workers=self.workers,
            worker_init_fn=outliving,
            pin_memory=torch.cuda.is_available(),
        )  # fmt: skip
        fitting.run(stage, loader)
        self.ranks = Ranks(trainer.global_rank, trainer.world_size, trainer.strategy.root_device)
        join_metrics(run.metrics)
        if is_first_process():
            update_record(run.record, {"steps": trainer.global_step, "crops": len(dataset)})
