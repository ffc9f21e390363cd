"""Dense CRF of Kraehenbuehl and Koltun (2011) by pydensecrf, images spread over a pool of processes."""

import itertools
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from dhr.crf.boxes import Job, jobs_of
from dhr.crf.interface import normalised
from dhr.crf.potentials import Potentials
from dhr.crf.worker import infer_of_batch
from dhr.processes import process_pool


@dataclass(frozen=True)
class PyDenseCrf(Potentials):
    """CPU dense CRF; the result does not depend on the number of workers.

    Attributes:
        workers: processes; 0 computes in this process.
    """

    workers: int = 2
    _pools: list[ProcessPoolExecutor] = field(default_factory=list, init=False, repr=False, compare=False)

    def on(self, pixels: Tensor, valid: Tensor) -> "PyDenseField":
        """See `dhr.crf.interface.Crf`."""
        return PyDenseField(self, pixels, valid)

    def pool(self, number: int) -> ProcessPoolExecutor:
        """A process; the same for the same number, because it keeps the pairwise terms of its images."""
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
        start = normalised(probabilities, self.valid, present)
        result = start.clone()
        jobs = list(jobs_of(start, self.pixels, self.valid, present))
        for job, values in zip(jobs, self._marginals(jobs), strict=True):
            job.put(result, values)
        return result

    def _marginals(self, jobs: list[Job]) -> Iterator[np.ndarray]:
        """Marginals (M,H,W) of images."""
        crf, plain = self.crf, self.crf.plain()
        if crf.workers == 0:
            return (infer_of_batch((self.batch, job.number), job.scores, job.pixels, plain) for job in jobs)
        waiting = [
            crf.pool(self.batch + job.number).submit(
                infer_of_batch, (self.batch, job.number), job.scores, job.pixels, plain
            )
            for job in jobs
        ]
        return (each.result() for each in waiting)
