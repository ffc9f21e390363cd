"""Dense CRF of Kraehenbuehl and Koltun (2011) by pydensecrf, images spread over a pool of processes."""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from dhr.crf.interface import normalised
from dhr.crf.potentials import Potentials
from dhr.crf.worker import infer
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

    def marginals(self, scores: list[np.ndarray], pixels: list[np.ndarray]) -> Iterator[np.ndarray]:
        """Marginals of images (M,H,W) in their order."""
        each = [self.plain()] * len(scores)
        if self.workers == 0:
            return map(infer, scores, pixels, each)
        if not self._pools:
            self._pools.append(process_pool(self.workers))
        return self._pools[0].map(infer, scores, pixels, each)


@dataclass(frozen=True)
class PyDenseField:
    """A batch of images; pydensecrf builds its terms anew for every inference."""

    crf: PyDenseCrf
    pixels: Tensor
    valid: Tensor

    def __call__(self, probabilities: Tensor, present: Tensor) -> Tensor:
        """See `dhr.crf.interface.Field`."""
        start = normalised(probabilities, self.valid, present)
        result = start.clone()
        jobs = list(_jobs(start, self.pixels, self.valid, present))
        marginals = self.crf.marginals([job.scores for job in jobs], [job.pixels for job in jobs])
        for job, values in zip(jobs, marginals, strict=True):
            refined = torch.from_numpy(values).to(result)
            result[job.number, job.channels[:, None, None], job.rows[:, None], job.columns] = refined
        return result


@dataclass(frozen=True)
class _Job:
    number: int
    channels: Tensor
    rows: Tensor
    columns: Tensor
    scores: np.ndarray
    pixels: np.ndarray


def _jobs(start: Tensor, pixels: Tensor, valid: Tensor, present: Tensor) -> Iterator[_Job]:
    """Images with two or more present classes, cut to the valid box and to these classes."""
    for number in range(len(start)):
        channels = present[number].nonzero()[:, 0]
        rows = valid[number].any(1).nonzero()[:, 0]
        columns = valid[number].any(0).nonzero()[:, 0]
        if len(channels) < 2 or len(rows) == 0:
            continue
        box = (slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1))
        yield _Job(
            number=number,
            channels=channels,
            rows=rows,
            columns=columns,
            scores=start[number, channels][:, box[0], box[1]].float().cpu().numpy(),
            pixels=pixels[number, :, box[0], box[1]].permute(1, 2, 0).contiguous().cpu().numpy(),
        )
