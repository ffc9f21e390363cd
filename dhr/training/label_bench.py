"""All label options at work on the same images: what `dhr.labels` compares."""

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from dhr.core.errors import InputError
from dhr.core.labels import GIVEN
from dhr.core.sample import Batch
from dhr.crf.interface import UNSOUND, naming_images
from dhr.network.segmentation import SegmentationNetwork
from dhr.runtime.pools import map_ahead
from dhr.training.features import Complete
from dhr.training.label_ways import Way
from dhr.training.whole_images import WholeImages


@dataclass(frozen=True)
class Labelled:
    """One image: its truth, and its labels (H,W) uint8 by every option with the seconds that each took."""

    id: str
    truth: np.ndarray
    labels: Mapping[str, tuple[np.ndarray, float]]


@dataclass(frozen=True)
class Bench:
    """All options on the same images, with one forward pass of the network and one field of the CRF for all.

    Attributes:
        images: to label.
        network: in eval mode, on `device`.
        complete: adds the USS features to a batch that was loaded without them.
        ways: how each option makes labels.
        device: where the network runs.
        threads: images that are processed at a time.
    """

    images: WholeImages
    network: SegmentationNetwork
    complete: Complete
    ways: Mapping[str, Way]
    device: torch.device
    threads: int

    def run(self) -> Iterator[Labelled]:
        """Labels of every image, in the order of the ids."""
        with ThreadPoolExecutor(self.threads) as pool:
            yield from map_ahead(pool, self.label, range(len(self.images.ids)), workers=self.threads)

    @torch.no_grad()
    def label(self, number: int) -> Labelled:
        """Labels of one image; the options take turns in being first, since the first builds what all of them share."""
        image_id = self.images.ids[number]
        sample, truth = self.images.sample(image_id), self.images.truth(image_id)
        if truth is None:
            raise InputError(f"{image_id}: its human mask is gone since this began; restore it")
        batch = self.complete(Batch.of([sample], self.device))
        output = self.network(batch.image)
        names = [*self.ways]
        first = number % max(len(names), 1)
        labels = {}
        for name in names[first:] + names[:first]:
            start = time.perf_counter()
            with naming_images(batch.ids, UNSOUND):
                label = self.ways[name](batch, output)[0].to(torch.uint8).cpu().numpy()
            labels[name] = label, time.perf_counter() - start
        return Labelled(
            id=image_id,
            truth=truth.numpy(),
            labels={GIVEN: (sample.wss_mask.numpy(), 0.0), **{name: labels[name] for name in names}},
        )
