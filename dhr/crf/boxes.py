"""The images of a batch one by one, cut to their valid box and present classes, for CRFs outside PyTorch."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class BoxedImage:
    """One image, cut to its valid box and to its present classes.

    Attributes:
        number: index of the image in the batch.
        channels: (M,) channels of the present classes, M >= 2.
        box: rows and columns of the valid box.
        scores: (M,h,w) float32, summing to 1 over M.
        pixels: (h,w,3) uint8 RGB.
    """

    number: int
    channels: Tensor
    box: tuple[slice, slice]
    scores: np.ndarray
    pixels: np.ndarray

    def put(self, result: Tensor, marginals: np.ndarray) -> None:
        """Writes the marginals (M,h,w) of this image into those of a batch, `result` (B,M,H,W)."""
        refined = torch.from_numpy(marginals).to(result)
        for channel, plane in zip(self.channels.tolist(), refined, strict=True):
            result[self.number, channel, *self.box] = plane


def boxed_images(start: Tensor, pixels: Tensor, valid: Tensor, present: Tensor) -> Iterator[BoxedImage]:
    """The images that need inference: with two or more present classes and a box that is not empty.

    The marginals of all others are `start` itself.

    Args:
        start: (B,M,H,W) as `dhr.crf.interface.normalised` gives them.
        pixels: (B,3,H,W) uint8 RGB.
        valid: (B,H,W) bool, one filled rectangle per image, or none.
        present: (B,M) bool.

    >>> start, pixels = torch.full((2, 3, 4, 5), 0.5), torch.zeros(2, 3, 4, 5, dtype=torch.uint8)
    >>> valid = torch.zeros(2, 4, 5) > 0
    >>> valid[:, 1:3, 1:] = True
    >>> (job,) = boxed_images(start, pixels, valid, torch.tensor([[1, 0, 1], [1, 0, 0]]) > 0)  # one class needs no CRF
    >>> job.number, job.channels.tolist(), job.scores.shape, job.pixels.shape
    (0, [0, 2], (2, 2, 4), (2, 4, 3))
    """
    for number in range(len(start)):
        channels = present[number].nonzero()[:, 0]
        rows = valid[number].any(1).nonzero()[:, 0]
        columns = valid[number].any(0).nonzero()[:, 0]
        if len(channels) < 2 or len(rows) == 0:
            continue
        box = (slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1))
        yield BoxedImage(
            number=number,
            channels=channels,
            box=box,
            scores=start[number, channels][:, *box].float().cpu().numpy(),
            pixels=pixels[number][:, *box].permute(1, 2, 0).contiguous().cpu().numpy(),
        )
