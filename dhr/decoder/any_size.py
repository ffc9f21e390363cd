"""Mask2Former written down for images of any size: transformers' code, its sizes left open."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from transformers.models.mask2former import modeling_mask2former


class _Open(ModuleType):
    """torch, but for three functions that would write the sizes of the example down as numbers."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    def tensor(self, sizes: Any, **kind: Any) -> Tensor:
        """A tensor of sizes, in lists or alone."""
        if isinstance(sizes, Sequence):
            return torch.stack([self.tensor(each, **kind) for each in sizes])
        return torch.full((), sizes, **kind)

    as_tensor = tensor

    def linspace(self, start: float, _: float, steps: int, **kind: Any) -> Tensor:
        """Centres of cells, which are 1 apart: all that is asked for there."""
        return torch.arange(steps, **kind) + start


@contextmanager
def sizes_left_open() -> Iterator[None]:
    """Meanwhile torch.export writes transformers' deformable attention for maps of any size, with the same numbers.

    >>> from transformers.models.mask2former.modeling_mask2former import Mask2FormerPixelDecoderEncoderOnly as Encoder
    >>> arguments = [(2, 3)], torch.ones(1, 1, 2), torch.device("cpu")
    >>> usual = Encoder.get_reference_points(*arguments)
    >>> with sizes_left_open():
    ...     bool((Encoder.get_reference_points(*arguments) == usual).all())
    True
    """
    names = vars(modeling_mask2former)
    names["torch"] = _Open("torch")
    try:
        yield
    finally:
        names["torch"] = torch
