"""Which network makes the labels (label_maker=), and what a step learns: the WSS masks, or these labels."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn

from dhr.core.sample import Batch, NetworkOutput
from dhr.crf.interface import naming_images
from dhr.network.segmentation import SegmentationNetwork
from dhr.rebalancing.rebalancer import Rebalancer, Relabelled, SeedOnly
from dhr.training.average import EmaAverage, broadcast_buffers
from dhr.training.divergence import DIVERGED
from dhr.training.features import Complete
from dhr.training.module import Relabel


class LabelMaker(Protocol):
    """One of the two networks of a training: the trained one, or its average."""

    def network(self, trained: SegmentationNetwork, average: EmaAverage) -> SegmentationNetwork:
        """The network itself, as it is now."""
        ...

    def output(self, batch: Batch, output: NetworkOutput, average: EmaAverage) -> NetworkOutput:
        """Its output for a batch in a step; `output` is that of the trained network."""
        ...


@dataclass(frozen=True)
class Student:
    """The network that is being trained, as released."""

    def network(self, trained: SegmentationNetwork, average: EmaAverage) -> SegmentationNetwork:
        """See `LabelMaker`."""
        return trained

    def output(self, batch: Batch, output: NetworkOutput, average: EmaAverage) -> NetworkOutput:
        """The output of the step itself."""
        return output


@dataclass(frozen=True)
class Ema:
    """The average of its weights, the teacher; costs a second forward pass."""

    def network(self, trained: SegmentationNetwork, average: EmaAverage) -> SegmentationNetwork:
        """See `LabelMaker`."""
        return average.network

    @torch.no_grad()
    def output(self, batch: Batch, output: NetworkOutput, average: EmaAverage) -> NetworkOutput:
        """The teacher's output for the batch, without gradient; the teacher is the same in every process."""
        broadcast_buffers(average.network)
        teacher: NetworkOutput = average.network(batch.image)
        return teacher


@dataclass(frozen=True)
class Labeller:
    """Makes labels: rebalances the WSS masks with the output of the label maker's network.

    Attributes:
        maker: chooses the network.
        relabel: the rebalancer.
        average: the averaged network.
        complete: adds the USS features to a batch that was loaded without them.
        threads: images that can be labelled at a time, one for each worker of the CRF.
    """

    maker: LabelMaker
    relabel: Rebalancer | SeedOnly
    average: EmaAverage
    complete: Complete
    threads: int = 1

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Itself: the copy of the module that is averaged makes no labels, and needs no second USS model in memory."""
        return self

    def __call__(self, batch: Batch, output: NetworkOutput) -> Relabelled:
        """Labels of a batch in a step."""
        return self._labels(batch, self.maker.output(batch, output, self.average))

    @torch.no_grad()
    def whole(self, batch: Batch, trained: SegmentationNetwork) -> Relabelled:
        """Labels outside a step; the network stays in the mode, training or eval, in which it is."""
        return self._labels(batch, self.maker.network(trained, self.average)(batch.image))

    def _labels(self, batch: Batch, output: NetworkOutput) -> Relabelled:
        """In full precision: trainer.precision is for networks, and prototypes of bfloat16 choose other labels."""
        with torch.autocast(batch.image.device.type, enabled=False), naming_images(batch.ids, DIVERGED):
            return self.relabel(self.complete(batch), output)


@contextmanager
def eval_mode(network: nn.Module) -> Iterator[None]:
    """Eval mode, and afterwards every part in the mode in which it was."""
    training = [part for part in network.modules() if part.training]
    network.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


@dataclass(frozen=True)
class GivenMasks:
    """Plain training on the masks of the crops."""

    def __call__(self, batch: Batch, output: NetworkOutput, epoch: int) -> Tensor:
        """(B,H,W) the masks of the crops: WSS masks, or labels that a round made of them."""
        return batch.wss_mask


@dataclass(frozen=True)
class RebalancedMasks:
    """The WSS masks first, then the labels that `relabel` makes of them in every step.

    Attributes:
        relabel: the rebalancer, with the network that it asks.
        start_epoch: first epoch with rebalancing; before it the network's features mean too little.
        see: is shown the labels, for the curves.
    """

    relabel: Relabel
    start_epoch: int
    see: Callable[[Relabelled], None]

    def __call__(self, batch: Batch, output: NetworkOutput, epoch: int) -> Tensor:
        """(B,H,W) labels."""
        if epoch < self.start_epoch:
            return batch.wss_mask
        labels = self.relabel(batch, output)
        self.see(labels)
        return labels.pseudo_mask
