"""The averaged network: validated, saved and predicted with, and the one that label_maker=ema asks for labels."""

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EMAWeightAveraging
from torch import distributed, nn

from dhr.network import SegmentationNetwork
from dhr.ranks import are_several


class EmaAverage(EMAWeightAveraging):
    """Moving average of parameters and buffers after every step, on the device of the training, in eval mode.

    Args:
        decay: what an average keeps of itself in a step.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(decay=decay, use_buffers=True)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Makes the copy that will be the average."""
        super().setup(trainer, pl_module, stage)
        if stage == "fit":
            # Lightning copies the module before it moves it, so the copy would stay in CPU memory.
            self._copy().to(trainer.strategy.root_device).eval()

    @property
    def network(self) -> SegmentationNetwork:
        """The averaged network itself, not a copy; before the first step it is the start."""
        network: SegmentationNetwork = self._copy().module.network
        return network

    def swap(self, module: pl.LightningModule) -> None:
        """Exchanges the weights of the trained network and the averaged ones; done twice, nothing has changed."""
        self._swap_models(module)

    def _copy(self) -> Any:
        # Lightning has no public name for the averaged module; a copy of our own would be the third set of weights.
        if self._average_model is None:
            raise RuntimeError("there is no average before training has been set up")
        return self._average_model


@torch.no_grad()
def share_buffers(network: nn.Module) -> None:
    """Gives every process the first one's batch norm statistics; parameters are the same already.

    DDP does so with the trained network before every step, and a checkpoint holds the first process's.
    """
    if not are_several():
        return
    buffers = [each for each in network.buffers() if each.is_floating_point()]
    values = torch.cat([each.flatten() for each in buffers])
    distributed.broadcast(values, src=0)
    for each, shared in zip(buffers, values.split([each.numel() for each in buffers]), strict=True):
        each.copy_(shared.view_as(each))
