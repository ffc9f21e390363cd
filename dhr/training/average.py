"""The averaged network: validated, saved and predicted with, and the one that label_maker=ema asks for labels."""

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor, distributed, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from dhr.network.segmentation import SegmentationNetwork
from dhr.runtime.ranks import are_several


class EmaAverage(WeightAveraging):
    """Moving average of parameters and buffers after every step, on the device of the training, in eval mode.

    What does not change in training is the same in the average, bit by bit; whole numbers are not averaged.

    Args:
        decay: what an average keeps of itself in a step.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(use_buffers=True, multi_avg_fn=_moving(decay))

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Makes the averaged copy of the module and moves it to the device of the training."""
        super().setup(trainer, pl_module, stage)
        if stage == "fit":
            # Lightning copies the module before it moves it, so the copy would stay in CPU memory.
            self._copy().to(trainer.strategy.root_device).eval()

    @property
    def network(self) -> SegmentationNetwork:
        """The averaged network itself, not a copy; before the first step it has the first weights."""
        network: SegmentationNetwork = self._copy().module.network
        return network

    def swap(self, module: pl.LightningModule) -> None:
        """Exchanges the trained and the averaged weights; a second call undoes the first."""
        self._swap_models(module)

    def settle(self, module: pl.LightningModule) -> None:
        """Gives a module the averaged weights; Lightning does not where a continued training has no step left."""
        self._copy_average_to_current(module)

    def _copy(self) -> Any:
        # Lightning has no public name for the averaged module; a copy of our own would be the third set of weights.
        if self._average_model is None:
            raise RuntimeError("there is no average before training has been set up")
        return self._average_model


def _moving(decay: float) -> Callable[[list[Tensor], list[Tensor], Tensor | int], None]:
    """Update in place: average + (1 - decay) * (current - average); other forms drift by rounding where both are equal.

    Integer tensors are copied.
    """
    move: Any = get_ema_multi_avg_fn(decay)

    def update(averages: list[Tensor], current: list[Tensor], steps: Tensor | int) -> None:
        if averages[0].is_floating_point():
            move(averages, current, steps)
            return
        for average, value in zip(averages, current, strict=True):  # counters, and indices such as a Swin's
            average.copy_(value)

    return update


@torch.no_grad()
def broadcast_buffers(network: nn.Module) -> None:
    """Gives every process the batch norm statistics of the first process; parameters are the same already.

    DDP does so with the trained network before every step, and a checkpoint holds those of the first process.
    """
    if not are_several():
        return
    buffers = [buffer for buffer in network.buffers() if buffer.is_floating_point()]
    values = torch.cat([buffer.flatten() for buffer in buffers])
    distributed.broadcast(values, src=0)
    for buffer, shared in zip(buffers, values.split([buffer.numel() for buffer in buffers]), strict=True):
        buffer.copy_(shared.view_as(buffer))
