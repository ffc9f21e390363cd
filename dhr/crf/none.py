"""No CRF: the probabilities as they are, normalised. For ablations and fast trials."""

from dataclasses import dataclass

from torch import Tensor

from dhr.crf.interface import normalised


@dataclass(frozen=True)
class NoCrf:
    """Keeps the probabilities, in the form that every CRF returns."""

    def __call__(self, probabilities: Tensor, pixels: Tensor, valid: Tensor, present: Tensor) -> Tensor:
        """See `dhr.crf.interface.Crf`; `pixels` are not looked at."""
        return normalised(probabilities, valid, present)
