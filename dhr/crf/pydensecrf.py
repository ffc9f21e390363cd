"""Dense CRF of Kraehenbuehl and Koltun (2011) by pydensecrf, images spread over a pool of processes."""

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor

from dhr.core.ranges import Workers
from dhr.crf.boxes import BoxedImage, boxed_images
from dhr.crf.interface import normalised
from dhr.crf.potentials import Potentials
from dhr.crf.worker import infer_of_batch
from dhr.runtime.pools import process_pool


@dataclass(frozen=True)
class PyDenseCrf(Potentials):
    """CPU dense CRF; the result does not depend on the number of workers.

    Attributes:
        workers: processes; 0 computes in this process.
    """

    workers: Workers = 2
    _pools: list[ProcessPoolExecutor] = field(default_factory=list, init=False, repr=False, compare=False)

    def on(self, pixels: Tensor, valid: Tensor) -> "PyDenseField":
        """See `dhr.crf.interface.Crf`."""
        return PyDenseField(self, pixels, valid)

    def pool(self, number: int) -> ProcessPoolExecutor:
        """The process of an image, always the same for one number, because it keeps the pairwise terms."""
        while len(self._pools) < self.workers:
            self._pools.append(process_pool(1))
        return self._pools[number % self.workers]


@dataclass(frozen=True)
class PyDenseField:
    """A batch of images; each process keeps the pairwise terms of its images until another batch comes."""

    crf: PyDenseCrf
    pixels: Tensor
    valid: Tensor
    batch: int = field(default_factory=itertools.count().__next__)

    def __call__(self, probabilities: Tensor, present: Tensor) -> Tensor:
        """See `dhr.crf.interface.Field`."""
        result = torch.empty_like(probabilities)
        started = [
            task for number in range(len(result)) for task in self._started(number, result, probabilities, present)
        ]
        for view, image, marginals in started:
            image.put(view, marginals())
        return result

    def _started(
        self, number: int, result: Tensor, probabilities: Tensor, present: Tensor
    ) -> Iterator[tuple[Tensor, BoxedImage, Callable[[], np.ndarray]]]:
        """Hands an image to its process, which works while the next images are prepared.

        Yields the image in `result` (1,M,H,W), its box, and a function that waits for its marginals; nothing for an
        image that needs no inference.
        """
        one = slice(number, number + 1)
        view = result[one]
        view[:] = normalised(probabilities[one], self.valid[one], present[one], first=number)
        for image in boxed_images(view, self.pixels[one], self.valid[one], present[one]):
            task = partial(infer_of_batch, (self.batch, number), image.scores, image.pixels, self.crf.plain())
            yield view, image, task if self.crf.workers == 0 else self.crf.pool(self.batch + number).submit(task).result
