"""Numbers that are none: who they belong to, and what to do about it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from dhr.crf.interface import NonsenseError
from dhr.errors import InputError

DIVERGED = (
    "the training diverged; try smaller optimizer.backbone_lr and optimizer.head_lr, or trainer.precision=32-true"
)


@contextmanager
def naming(ids: Sequence[str], cure: str) -> Iterator[None]:
    """Names the images for which a CRF refuses to make labels.

    Raises:
        InputError: it does, inside this block.
    """
    try:
        yield
    except NonsenseError as error:
        names = ", ".join(ids[number] for number in error.images)
        raise InputError(f"image {names}: the network's scores are NaN, infinite or negative; {cure}") from error
