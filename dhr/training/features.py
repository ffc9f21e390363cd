"""Where the USS features for the labels of a step come from (features=): the store, or the USS model itself."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from dhr.core.ranges import Scales
from dhr.core.sample import Batch
from dhr.disk.feature_store import FeatureStore
from dhr.network.multi_scale import multi_scale_features

Complete = Callable[[Batch], Batch]


class Features(Protocol):
    """A source of USS features."""

    def store(self, store: FeatureStore) -> FeatureStore | None:
        """The store that crops read from; None if they read none."""
        ...

    def complete(self, extractor: Callable[[], Any], *, stride: int) -> Complete:
        """A function from a batch to the batch with features.

        Args:
            extractor: makes the USS model, `dhr.core.extractor.Extractor`.
            stride: pixels of a crop per cell of its feature grid.
        """
        ...


@dataclass(frozen=True)
class Stored:
    """Features that were extracted once, from whole images, at several scales."""

    def store(self, store: FeatureStore) -> FeatureStore | None:
        """The store."""
        return store

    def complete(self, extractor: Callable[[], Any], *, stride: int) -> Complete:
        """The identity: the crops of a batch have their features already."""
        return lambda batch: batch


@dataclass(frozen=True)
class Computed:
    """Features of the crops that the network sees, colours jittered and padding black, on the network's device.

    Attributes:
        scales: factors on the size of the crop.
        flip: whether the mirrored crop is averaged in.
    """

    scales: Scales = (1.0,)
    flip: bool = False

    def store(self, store: FeatureStore) -> FeatureStore | None:
        """None."""
        return None

    def complete(self, extractor: Callable[[], Any], *, stride: int) -> Complete:
        """A function that adds features on a grid of `stride`; the model is made here, so that errors come at once."""
        return OnTheFly(extractor(), self.scales, self.flip, stride)


@dataclass(frozen=True)
class OnTheFly:
    """Features of every batch by a frozen USS model."""

    extractor: Any
    scales: tuple[float, ...]
    flip: bool
    stride: int

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Batch:
        """The batch with features; all its crops have the same size and go through the model together."""
        model, (height, width) = self.extractor.to(batch.pixels.device), batch.pixels.shape[-2:]
        grid = (max(height // self.stride, 1), max(width // self.stride, 1))
        features = multi_scale_features(model, batch.image, scales=self.scales, flip=self.flip, grid=grid)
        return batch.with_features(features)
