"""What every model of unsupervised features offers."""

from typing import Protocol

from torch import Tensor


class Extractor(Protocol):
    """A frozen, deterministic map from an image to dense features.

    Attributes:
        patch_size: pixels per cell; images are resized to multiples of it.
        dim: number of feature channels.
    """

    patch_size: int
    dim: int

    def __call__(self, image: Tensor) -> Tensor:
        """(B,3,H,W) normalised, sides multiples of `patch_size` -> (B,dim,H/patch_size,W/patch_size)."""
        ...
