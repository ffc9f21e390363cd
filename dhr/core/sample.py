"""What flows through the program, as typed values, and the geometry that keeps them on the same pixels.

Axis letters used everywhere: B images, K classes (all of the data set), M classes of one image (slots), T tags,
D feature channels, H W pixels of the crop, h w cells of a feature map, N = h w.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils.data import default_collate

from dhr.core import colour
from dhr.core.window import StoredFeatures, Window, boxes_of, covered


@dataclass(frozen=True)
class Sample:
    """One training crop.

    Attributes:
        id: name of the image.
        pixels: (3,H,W) uint8 RGB.
        tags: (T) float 0/1.
        wss_mask: (H,W) uint8.
        window: where the crop lies in its image.
        stored_features: those of the USS model, None where no stage needs them.
        jitter: (7) numbers by which the colours are still to be changed, None where they are final.
    """

    id: str
    pixels: Tensor
    tags: Tensor
    wss_mask: Tensor
    window: Window
    stored_features: StoredFeatures | None = None
    jitter: Tensor | None = None


@dataclass(frozen=True)
class Crops:
    """Samples along a new first axis; `ids` stay a tuple. What both kinds of batch have.

    `boxes` (B,4) has top, left, height and width of the part of each canvas that shows image; `most_tags` is the
    largest number of tags that an image has; `whole` (B,) bool says which crops show the whole image.
    """

    ids: tuple[str, ...]
    pixels: Tensor
    tags: Tensor
    wss_mask: Tensor
    boxes: Tensor
    most_tags: int
    whole: Tensor

    @property
    def valid(self) -> Tensor:
        """(B,H,W) bool, true where a crop shows image."""
        height, width = self.pixels.shape[-2:]
        return self.cells((height, width))

    def cells(self, grid: tuple[int, int]) -> Tensor:
        """(B,h,w) bool, true where the centre of a cell of `grid` (h,w) lies on image."""
        height, width = self.pixels.shape[-2:]
        return covered(self.boxes, (height, width), grid)


@dataclass(frozen=True)
class LoadedBatch(Crops):
    """Crops as the workers of a loader hand them over, colours and features not ready yet.

    `hue` says whether any jitter turns hues. It, `boxes`, `most_tags` and `whole` are made where the samples are
    stacked, so that no step has to ask an accelerator for them.

    >>> pixels, mask = torch.zeros(3, 2, 3, dtype=torch.uint8), torch.zeros(2, 3, dtype=torch.uint8)
    >>> whole, tags = Window.whole((2, 3)), torch.tensor([1.0, 0.0, 1.0])
    >>> part = Window(scaled=(4, 2), flip=False, source=(0, 0, 2, 2), place=(0, 1), canvas=(2, 3))
    >>> loaded = LoadedBatch.stack([Sample("a", pixels, tags, mask, whole), Sample("b", pixels, tags, mask, part)])
    >>> loaded.most_tags, loaded.whole.tolist(), loaded.boxes.tolist()
    (2, [True, False], [[0, 0, 2, 3], [0, 1, 2, 2]])
    >>> batch = loaded.ready()
    >>> batch.image.shape, batch.valid[1].int().tolist(), batch.uss_features
    (torch.Size([2, 3, 2, 3]), [[0, 1, 1], [0, 1, 1]], None)
    """

    stored_features: StoredFeatures | None
    jitter: Tensor | None
    hue: bool

    @classmethod
    def stack(cls, samples: list[Sample]) -> Self:
        """Stacks samples of equal shapes; in a worker of a loader, straight into the memory it shares."""
        tags = default_collate([sample.tags for sample in samples])
        jitter = [sample.jitter for sample in samples if sample.jitter is not None]
        features = [sample.stored_features for sample in samples if sample.stored_features is not None]
        return cls(
            ids=tuple(sample.id for sample in samples),
            pixels=default_collate([sample.pixels for sample in samples]),
            tags=tags,
            wss_mask=default_collate([sample.wss_mask for sample in samples]),
            boxes=boxes_of(sample.window for sample in samples),
            most_tags=int((tags > 0).sum(1).max()),
            whole=torch.tensor([sample.window.shows_all for sample in samples]),
            stored_features=StoredFeatures.stack(features) if features else None,
            jitter=default_collate(jitter) if jitter else None,
            hue=any(bool(numbers[colour.HUE]) for numbers in jitter),
        )

    def to(self, device: torch.device) -> Self:
        """The batch with every tensor on `device`."""
        return self._changed(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Self:
        """The batch in page-locked memory; called by the data loader."""
        return self._changed(torch.Tensor.pin_memory)

    def ready(self) -> "Batch":
        """What a step sees: colours jittered, where the batch is now; features on the cells of the crops."""
        batch = Batch(**{field.name: getattr(self, field.name) for field in fields(Crops)})
        if self.jitter is not None:
            batch = replace(batch, pixels=colour.jitter(self.pixels, self.valid, self.jitter, hue=self.hue))
        return batch if self.stored_features is None else batch.with_features(self.stored_features.sampled())

    def _changed(self, change: Callable[[Tensor], Tensor]) -> Self:
        changed: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                changed[field.name] = change(value)
            elif isinstance(value, StoredFeatures):
                changed[field.name] = value.changed(change)
        return replace(self, **changed)


@dataclass(frozen=True)
class Batch(Crops):
    """What a step sees: crops whose `pixels` (B,3,H,W) uint8 are what network and CRF look at.

    `uss_features` (B,D,h,w) float lie on the grid of the crops, 0 at cells whose centre lies off the image; None where
    no stage needs them.
    """

    uss_features: Tensor | None = None

    @staticmethod
    def of(samples: list[Sample], device: torch.device) -> "Batch":
        """Samples of equal shapes, stacked and made ready on a device."""
        return LoadedBatch.stack(samples).to(device).ready()

    @cached_property
    def image(self) -> Tensor:
        """(B,3,H,W) float, the normalised pixels, 0 where a crop shows no image."""
        return colour.normalise(self.pixels).masked_fill_(~self.valid[:, None], 0.0)

    def with_features(self, features: Tensor) -> Self:
        """The batch with features (B,D,h,w) of its crops."""
        on_image = self.cells((features.shape[-2], features.shape[-1]))[:, None]
        return replace(self, uss_features=features.float() * on_image)


@dataclass(frozen=True)
class Queries:
    """The answer of one layer of a mask classifier, for Q queries.

    Attributes:
        classes: (B,Q,K+1) logits; the last is "no object".
        masks: (B,Q,h,w) logits.
    """

    classes: Tensor
    masks: Tensor


@dataclass(frozen=True)
class Decoded:
    """The answer of a decoder: logits (B,K,h,w), and the queries of each layer if it has any."""

    logits: Tensor
    queries: tuple[Queries, ...] = ()


@dataclass(frozen=True)
class NetworkOutput:
    """The answer of the network to a batch.

    Attributes:
        logits: (B,K,h,w) at the stride of the decoder.
        cams: (B,T,h,w) signed scores of the bias-free classifier; T = 0 without one.
        features: the maps C4 and C5, (B,D,h,w) each.
        queries: of a mask classifier, for its loss.
    """

    logits: Tensor
    cams: Tensor
    features: tuple[Tensor, Tensor]
    queries: tuple[Queries, ...] = ()

    def detach(self) -> "NetworkOutput":
        """The same maps in float32 and without gradients, from which labels are made; without the queries.

        >>> half = torch.ones(1, 2, 1, 1, dtype=torch.bfloat16, requires_grad=True)
        >>> free = NetworkOutput(logits=half, cams=half, features=(half, half)).detach()
        >>> free.logits.dtype, free.logits.requires_grad
        (torch.float32, False)
        """
        c4, c5 = self.features
        return NetworkOutput(
            logits=self.logits.detach().float(),
            cams=self.cams.detach().float(),
            features=(c4.detach().float(), c5.detach().float()),
        )
