"""Losses and scores that are NaN or infinite: the images they come from, and what helps."""

import logging
from concurrent.futures import BrokenExecutor
from typing import Any, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import STEP_OUTPUT
from torch import Tensor

from dhr.core.errors import InputError
from dhr.core.sample import Batch
from dhr.disk.atomic import write_json
from dhr.disk.layout import RunFolder

DIVERGED = (
    "the training diverged; try smaller optimizer.backbone_lr and optimizer.head_lr, or trainer.precision=32-true"
)
NOT_OF_IMAGES = (OSError, MemoryError, BrokenExecutor)  # the machine's troubles; a signal is no Exception at all
log = logging.getLogger("dhr.train")


class StopOnNonFiniteLoss(pl.Callback):
    """Checks the losses when they are logged anyway, so that no step waits for its device; all ranks stop together.

    If an error ends a training within a step, `failed-<rank>.json` in its folder names the images of the step.

    Args:
        run: its folder.
    """

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self.seen: list[tuple[int, tuple[str, ...], Tensor]] = []
        self.current: tuple[int, tuple[str, ...]] | None = None

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        """Stores the step and the ids of its images."""
        self.current = (trainer.global_step, batch.ids if isinstance(batch, Batch) else ())

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: STEP_OUTPUT, batch: Any, batch_idx: int
    ) -> None:
        """Stores whether the loss is finite, and checks it every `trainer.log_every_n_steps` steps.

        Raises:
            InputError: a loss since the last check is not finite, on this rank or another one.
        """
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        if self.current is not None and isinstance(loss, Tensor):
            self.seen.append((*self.current, torch.isfinite(loss.detach()).all()))
        interval = cast(int, vars(trainer)["log_every_n_steps"])
        if trainer.global_step % interval and not trainer.is_last_batch:
            return
        seen, self.seen = self.seen, []
        flags = [bool(flag) for flag in torch.stack([flag for _, _, flag in seen]).tolist()] if seen else []
        if trainer.strategy.reduce_boolean_decision(all(flags), all=True):
            return
        for (step, ids, _), is_finite in zip(seen, flags, strict=True):
            if not is_finite:
                self.current = (step, ids)
                raise InputError(f"step {step}, images {', '.join(ids)}: the loss is not a finite number; {DIVERGED}")
        raise InputError(f"step {trainer.global_step}: the loss is not a finite number in another process; {DIVERGED}")

    def on_exception(self, trainer: pl.Trainer, module: pl.LightningModule, exception: BaseException) -> None:
        """Writes the step, the ids of its images and the error to `failed-<rank>.json`."""
        of_images = isinstance(exception, Exception) and not isinstance(exception, NOT_OF_IMAGES)
        if self.current is not None and of_images:
            step, ids = self.current
            path = self.run.failed(trainer.global_rank)
            write_json(path, {"step": step, "ids": list(ids), "error": str(exception)})
            log.info(f"{path}: the images of step {step}")
