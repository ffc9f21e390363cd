"""Trainings can stop after any step and continue exactly: random numbers, order of crops, checkpoint, signals."""

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
    """A 32-bit number for seeding that depends on `seed` and `place`, for instance step and process, alone."""
    return zlib.crc32(repr((seed, *place)).encode())


class StepSeeds(pl.Callback):
    """Random numbers of a step, for instance of dropout, depend on (seed, step, process) alone.

    So a continued run draws the numbers of the uninterrupted one, and every process draws its own.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        """Seeds torch, on every device."""
        torch.manual_seed(step_key(self.seed, trainer.global_step, trainer.global_rank))


class SkipDone(pl.Callback):
    """The first epoch of a continued run starts behind the batches that its checkpoint has seen."""

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Tells the sampler to skip them, before the first batch is loaded."""
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
        """Keeps Lightning from handling signals: it would exit with 0, and hang if only some processes got one."""
        trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Opens a process group on the CPU, apart from that of the gradients."""
        if trainer.world_size > 1:
            self._group = distributed.new_group(backend="gloo")

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: STEP_OUTPUT, batch: Any, batch_idx: int
    ) -> None:
        """Makes Lightning end the training when the step is logged, unless gradients are still being accumulated."""
        if not trainer.fit_loop._should_accumulate() and self._came():
            trainer._signal_connector.received_sigterm = True

    def on_validation_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """The module has the averaged weights from here on, and the average those of the module."""
        self._validating = not trainer.sanity_checking

    def on_validation_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: STEP_OUTPUT, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Breaks a validation off; checked only at images that every process has.

        Raises:
            SIGTERMException: a signal came.
        """
        data = getattr(trainer, "datamodule", None)
        shared = len(data.validation) // trainer.world_size if data is not None else 0
        if self._validating and batch_idx < shared and self._came():
            raise SIGTERMException

    def on_validation_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Module and average have their own weights again."""
        self._validating = False

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Stores the step of the newest checkpoint."""
        self._saved_step = trainer.global_step

    def on_exception(self, trainer: pl.Trainer, module: pl.LightningModule, exception: BaseException) -> None:
        """Saves a checkpoint if all processes stopped together, or the only process was stopped."""
        together = isinstance(exception, SIGTERMException)
        if not together and not (isinstance(exception, Stopped) and trainer.world_size == 1):
            return
        self.note.settled = True
        if self._validating:
            # The state before the validation: Lightning continues with one whose first image is not done.
            if self.average is not None:
                self.average.swap(module)
            progress = trainer.fit_loop.epoch_loop.val_loop.batch_progress
            progress.reset()
            progress.increment_ready()
            progress.increment_started()
        if trainer.global_step != self._saved_step and _between_steps(trainer):
            trainer.save_checkpoint(self.last)
        # Lightning watches the processes it has started, and would kill this one when they end by a signal.
        for thread in threading.enumerate():
            if thread.name == "child-process-observer":
                vars(thread)["_child_processes"] = []
        trainer.strategy.barrier("stopped")

    def _came(self) -> bool:
        """Whether a signal came to any of the processes; all of them have to call it at the same time."""
        if self._group is None:
            return self.note.number is not None
        number = torch.tensor(self.note.number or 0)
        distributed.all_reduce(number, distributed.ReduceOp.MAX, group=self._group)
        self.note.number = int(number) or None
        return self.note.number is not None


def _between_steps(trainer: pl.Trainer) -> bool:
    """Whether an epoch goes on and a step of it is done: other states are stored already, or cannot be continued."""
    batches = vars(trainer.fit_loop.epoch_loop.batch_progress.total)
    epochs = vars(trainer.fit_loop.epoch_progress.total)
    within = epochs["ready"] == epochs["started"] == epochs["processed"] + 1
    return bool(within and 0 < batches["ready"] == batches["completed"])
