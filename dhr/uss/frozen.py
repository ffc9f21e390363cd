"""What all models of unsupervised features share: they are frozen, and compute in a chosen precision."""

from typing import Protocol, Self

from torch import nn

from dhr.core.extractor import Extractor
from dhr.core.ranges import Precision


class Tokens(Extractor, Protocol):
    """A frozen backbone under a head, which computes in its precision."""

    precision: Precision


class Frozen(nn.Module):
    """Always in eval mode; `freeze` ends the constructor of what has parameters.

    Attributes:
        precision: of the matrix products, also of a head that is put on top.
    """

    precision: Precision = "fp32"

    def freeze(self) -> None:
        """Turns gradients off for all parameters, and eval mode on."""
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """Stays in eval mode, also as a part of a module that is trained."""
        return super().train(False)
