"""Ways from the output of a network to labels, which `dhr.labels` compares."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from dhr.core.numerics import fast_argmax
from dhr.core.sample import Batch, NetworkOutput
from dhr.crf.interface import Crf, Field
from dhr.network.segmentation import SegmentationNetwork
from dhr.rebalancing.slots import Slots

Way = Callable[[Batch, NetworkOutput], Tensor]
"""From a batch and the network's output for it to labels (B,H,W)."""


@dataclass(frozen=True)
class SharedField:
    """A CRF that keeps the last field of each thread, so that several options can use the field of one batch.

    Attributes:
        crf: makes the fields.
    """

    crf: Crf
    _kept: threading.local = field(default_factory=threading.local, init=False, repr=False, compare=False)

    @property
    def workers(self) -> int:
        """See `dhr.crf.interface.Crf`."""
        return self.crf.workers

    def on(self, pixels: Tensor, valid: Tensor) -> Field:
        """See `dhr.crf.interface.Crf`."""
        kept = getattr(self._kept, "last", None)
        if kept is None or kept[0] is not pixels or not torch.equal(kept[1], valid):
            kept = self._kept.last = (pixels, valid, self.crf.on(pixels, valid))
        return kept[2]


@dataclass(frozen=True)
class NetworkLabels:
    """The most probable class of every pixel among the image's tags and the background, after the CRF if there is one.

    Attributes:
        network: whose probabilities these are.
        first_tag: class index of the first tag.
        crf: refines them; None leaves them as they are.
    """

    network: SegmentationNetwork
    first_tag: int
    crf: Crf | None

    def __call__(self, batch: Batch, output: NetworkOutput) -> Tensor:
        """(B,H,W) class indices."""
        size, stride = (batch.pixels.shape[-2], batch.pixels.shape[-1]), self.network.decoder.stride
        maps = self.network.cells.on_grid(output.logits.float().softmax(1), view=size, image=size, stride=stride)
        probabilities = self.network.cells.on_image(maps, size, stride=stride)
        slots = Slots.of(batch.tags, first_tag=self.first_tag, most_tags=batch.most_tags)
        absent = ~slots.present[:, :, None, None]
        chosen = slots.of_classes(probabilities)
        if self.crf is not None:
            chosen = self.crf.on(batch.pixels, batch.valid)(chosen, slots.present)
        return slots.to_classes(fast_argmax(chosen.masked_fill(absent, -1), dim=1))


def pseudo_mask_of(rebalancer: Any) -> Way:
    """The pseudo-masks of a rebalancer."""

    def way(batch: Batch, output: NetworkOutput) -> Tensor:
        mask: Tensor = rebalancer(batch, output).pseudo_mask
        return mask

    return way
