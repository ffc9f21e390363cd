"""Trainings end after any step and go on as if nothing had happened: random numbers, order, checkpoint, signals."""

import threading
import zlib
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.exceptions import SIGTERMException
from pytorch_lightning.utilities.types import STEP_OUTPUT
from torch import distributed

from dhr.runtime.signals import Note, Stopped
from dhr.training.average import EmaAverage


def step_key(seed: int, *place: object) -> int:
    """A number for seeding that depends on `seed` and `place`, for instance step and process, alone."""
    return zlib.crc32(repr((seed, *place)).encode())


class StepSeeds(pl.Callback):
    """Dropout and whatever else a step draws depend on (seed, step, process) alone.

    So a continued run draws what the uninterrupted one does, and no two processes draw the same.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        """Seeds torch, on every device."""
        torch.manual_seed(step_key(self.seed, trainer.global_step, trainer.global_rank))


class SkipDone(pl.Callback):
    """The first epoch of a continued run starts behind the batches that its checkpoint has seen."""

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Tells the sampler, before the first batch is asked for."""
        loop, loader = trainer.fit_loop, trainer.train_dataloader
        if loop.restarted_mid_epoch and loader is not None:
            done = loop.epoch_loop.batch_progress.current.completed
            loader.sampler.skip(vars(loop.epoch_progress.current)["processed"], done)


class StopOnSignal(pl.Callback):
    """Ends a training after the step in which a signal came to any of its processes, with a checkpoint of that step.

    A validation is broken off and made again by the continued run. The processes agree over the CPU, so that no step
    waits for its device.

    Args:
        last: file of the newest checkpoint.
        note: of the signal that came to this process.
        average: of the weights, None where none is kept.
    """

    def __init__(self, last: Path, note: Note, average: EmaAverage | None) -> None:
        self.last = last
        self.note = note
        self.average = average
        self._group: Any = None
        self._validating = False
        self._saved_step = -1

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Keeps Lightning from handling signals: it would exit with 0, and hang where not all processes got one."""
        trainer._signal_connector.register_signal_handlers = _no_handlers  # type: ignore[method-assign]

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Opens a way for processes to talk that is not that of the gradients."""
        if trainer.world_size > 1:
            self._group = distributed.new_group(backend="gloo")

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: STEP_OUTPUT, batch: Any, batch_idx: int
    ) -> None:
        """Lets Lightning leave when the step is logged, unless gradients are still being added up."""
        if not trainer.fit_loop._should_accumulate() and self._came():
            trainer._signal_connector.received_sigterm = True

    def on_validation_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """From here on the averaged weights are in the module, and its own in the average."""
        self._validating = not trainer.sanity_checking

    def on_validation_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: STEP_OUTPUT, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Breaks a validation off; asked only at images that every process has.

        Raises:
            SIGTERMException: a signal came.
        """
        data = getattr(trainer, "datamodule", None)
        shared = len(data.validation) // trainer.world_size if data is not None else 0
        if self._validating and batch_idx < shared and self._came():
            raise SIGTERMException

    def on_validation_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """The weights are where they belong again."""
        self._validating = False

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Remembers the step."""
        self._saved_step = trainer.global_step

    def on_exception(self, trainer: pl.Trainer, module: pl.LightningModule, exception: BaseException) -> None:
        """Saves the step at which all processes have stopped together, or a single process was stopped."""
        together = isinstance(exception, SIGTERMException)
        if not together and not (isinstance(exception, Stopped) and trainer.world_size == 1):
            return
        self.note.settled = True
        if self._validating:
            self._undo_validation(trainer, module)
        if trainer.global_step != self._saved_step and _between_steps(trainer):
            trainer.save_checkpoint(self.last)
        _dismiss_observer()
        trainer.strategy.barrier("stopped")

    def _came(self) -> bool:
        """Whether a signal came to any of the processes; asked by all of them at the same time."""
        if self._group is None:
            return self.note.number is not None
        number = torch.tensor(self.note.number or 0)
        distributed.all_reduce(number, distributed.ReduceOp.MAX, group=self._group)
        self.note.number = int(number) or None
        return self.note.number is not None

    def _undo_validation(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """The state in which the validation is due: Lightning goes on with one whose first image is not done."""
        if self.average is not None:
            self.average.swap(module)
        progress = trainer.fit_loop.epoch_loop.val_loop.batch_progress
        progress.reset()
        progress.increment_ready()
        progress.increment_started()


def _between_steps(trainer: pl.Trainer) -> bool:
    """Whether an epoch goes on and a step of it is done: any other state is on disk, or no good."""
    batches, epochs = (
        vars(each.total) for each in (trainer.fit_loop.epoch_loop.batch_progress, trainer.fit_loop.epoch_progress)
    )
    within = epochs["ready"] == epochs["started"] == epochs["processed"] + 1
    return bool(within and 0 < batches["ready"] == batches["completed"])


def _no_handlers() -> None:
    """In place of Lightning's own."""


def _dismiss_observer() -> None:
    """Lightning watches the processes it has started, and would kill this one when they end with the signal's code."""
    for thread in threading.enumerate():
        if thread.name == "child-process-observer":
            vars(thread)["_child_processes"] = []
