"""Curves of what relabelling does: means over the images of a step or of a round, of all processes."""

from collections.abc import Sequence
from typing import Any, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import STEP_OUTPUT
from torch import Tensor

from dhr.rebalancing.rebalancer import Relabelled
from dhr.rebalancing.seed import SeedStep
from dhr.rebalancing.statistics import STATISTICS, LabelStatistics


def log_statistics(trainer: pl.Trainer, statistics: Sequence[Tensor], step: int) -> None:
    """Logs the mean of every statistic over all images that have it; one that no image has is left out.

    All processes have to call it, since they add up their images.

    Args:
        trainer: whose loggers are written to.
        statistics: those of the images of this process, (4,B) each.
        step: to which they belong.
    """
    device = trainer.strategy.root_device
    values = torch.cat([torch.zeros(len(STATISTICS), 0, device=device), *statistics], 1)
    sums = torch.stack([values.nansum(1), (~values.isnan()).sum(1)])
    total, count = cast(Tensor, trainer.strategy.reduce(sums, reduce_op="sum")).tolist()
    means = {f"train/label_{name}": total[i] / count[i] for i, name in enumerate(STATISTICS) if count[i]}
    for logger in trainer.loggers if means else ():
        logger.log_metrics(means, step)


class StepStatistics(pl.Callback):
    """Logs the statistics of the labels of a step, in those steps alone that are logged anyway.

    Args:
        seed: step 1 of the rebalancer.
    """

    def __init__(self, seed: SeedStep) -> None:
        self.seed = seed
        self._wanted = False
        self._step = 0
        self._seen: list[Tensor] = []

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        """Finds out whether this step is logged."""
        self._step = trainer.global_step
        self._wanted = (self._step + 1) % cast(int, vars(trainer)["log_every_n_steps"]) == 0

    def see(self, labels: Relabelled) -> None:
        """Takes the labels of a step."""
        if self._wanted:
            self._seen.append(LabelStatistics.of(labels, self.seed).stacked())

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: STEP_OUTPUT, batch: Any, batch_idx: int
    ) -> None:
        """Logs them when the step is complete; with accumulated gradients it has several batches."""
        if self._seen and trainer.global_step > self._step:
            log_statistics(trainer, self._seen, self._step)
            self._seen = []
