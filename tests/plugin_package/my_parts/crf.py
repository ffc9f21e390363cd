"""A stand-in for a CRF: what one offers stands in dhr/crf/interface.py."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Gt, Le
from torch import Tensor

from dhr.crf.interface import normalised


@dataclass(frozen=True)
class Sharpen:
    """Probabilities to a power, whatever the image shows.

    Attributes:
        power: above 1 for sharper ones.
    """

    power: Annotated[float, Gt(0), Le(10)] = 2.0
    workers: int = 0

    def on(self, pixels: Tensor, valid: Tensor) -> "Sharpened":
        """See `dhr.crf.interface.Crf`."""
        return Sharpened(self.power, valid)


@dataclass(frozen=True)
class Sharpened:
    """A batch, see `dhr.crf.interface.Field`."""

    power: float
    valid: Tensor

    def __call__(self, probabilities: Tensor, present: Tensor) -> Tensor:
        return normalised(probabilities**self.power, self.valid, present)
