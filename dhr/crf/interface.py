"""What every dense CRF offers, and the one channel convention they share."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor

from dhr.core.errors import InputError

INVALID = "the CRF was given a probability that is NaN, infinite or negative"


class InvalidProbabilitiesError(ValueError):
    """A probability is NaN, infinite or negative; `images` are the numbers of such images in the batch."""

    def __init__(self, images: tuple[int, ...]) -> None:
        super().__init__(f"{INVALID}, in image {', '.join(map(str, images))} of the batch")
        self.images = images


class Field(Protocol):
    """A batch of images with its pairwise terms; these are built once and serve any number of inferences."""

    def __call__(self, probabilities: Tensor, present: Tensor) -> Tensor:
        """Approximate marginals after mean-field inference.

        Args:
            probabilities: (B,M,H,W), finite, >= 0; they need not sum to 1.
            present: (B,M) bool, the channels that take part.

        Returns:
            (B,M,H,W), summing to 1 over the present channels inside the valid box, 0 elsewhere.

        Raises:
            InvalidProbabilitiesError: a probability is NaN, infinite or negative.
        """
        ...


class Crf(Protocol):
    """Refines class probabilities of a batch with its images."""

    @property
    def workers(self) -> int:
        """How many images it works on at a time; 0 and 1: one after the other."""
        ...

    def on(self, pixels: Tensor, valid: Tensor) -> Field:
        """The field of a batch. It is cheap to make: its pairwise terms are built at its first inference.

        Args:
            pixels: (B,3,H,W) uint8 RGB.
            valid: (B,H,W) bool, one filled rectangle per image, or none.
        """
        ...


def normalised(probabilities: Tensor, valid: Tensor, present: Tensor, *, first: int = 0) -> Tensor:
    """Probabilities that sum to 1 over the present channels inside the valid box, 0 elsewhere.

    A pixel without any mass gets the uniform distribution: no class is preferred where nothing is known.
    On an accelerator the check does not wait for the device, so the error comes a little later.

    Args:
        probabilities: (B,M,H,W).
        valid: (B,H,W) bool.
        present: (B,M) bool.
        first: number of the first of these images in the whole batch, for the error.

    Raises:
        InvalidProbabilitiesError: a value is NaN, infinite or negative, present or not. An accelerator raises its
            own error.

    >>> scores = torch.tensor([3.0, 0.0, 4.0, 1.0, 0.0, 5.0, 2.0, 2.0, 6.0]).view(1, 3, 1, 3)
    >>> normalised(scores, torch.tensor([[[True, True, False]]]), torch.tensor([[True, True, False]])).tolist()
    [[[[0.75, 0.5, 0.0]], [[0.25, 0.5, 0.0]], [[0.0, 0.0, 0.0]]]]
    >>> normalised(-scores, torch.ones(1, 1, 3) > 0, torch.ones(1, 3) > 0, first=8)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    dhr.crf.interface.InvalidProbabilitiesError: the CRF was given a probability ... negative, in image 8 of the batch
    """
    sound = (torch.isfinite(probabilities) & (probabilities >= 0)).flatten(1).all(1)
    if probabilities.device.type != "cpu":
        torch._assert_async(sound.all(), INVALID)
    elif not bool(sound.all()):
        raise InvalidProbabilitiesError(tuple(first + number for number in (~sound).nonzero()[:, 0].tolist()))
    on = (valid[:, None] & present[:, :, None, None]).to(probabilities.dtype)
    mass = probabilities * on
    total = mass.sum(1, keepdim=True)
    count = on.sum(1, keepdim=True).clamp_min(1)
    return torch.where(total > 0, mass / total.masked_fill(total == 0, 1.0), on / count)


UNSOUND = "are these weights sound? train anew, or take those of an earlier epoch"  # a cure, of a trained network


@contextmanager
def naming_images(ids: Sequence[str], cure: str) -> Iterator[None]:
    """Names the images for which a CRF refuses to make labels.

    Raises:
        InputError: it does, inside this block.
    """
    try:
        yield
    except InvalidProbabilitiesError as error:
        names = ", ".join(ids[number] for number in error.images)
        raise InputError(f"image {names}: the network's scores are NaN, infinite or negative; {cure}") from error
