"""No CRF: the probabilities as they are, normalised. For ablations and fast trials."""

from dataclasses import dataclass

from torch import Tensor

from dhr.crf.interface import normalised


@dataclass(frozen=True)
class NoField:
    """Keeps the probabilities, in the form that every CRF returns."""

    valid: Tensor

    def __call__(self, probabilities: Tensor, present: Tensor) -> Tensor:
        """See `dhr.crf.interface.Field`."""
        return normalised(probabilities, self.valid, present)


@dataclass(frozen=True)
class NoCrf:
    """A CRF without pairwise terms."""

    @property
    def workers(self) -> int:
        """See `dhr.crf.interface.Crf`."""
        return 0

    def on(self, pixels: Tensor, valid: Tensor) -> NoField:
        """See `dhr.crf.interface.Crf`; `pixels` are not looked at."""
        return NoField(valid)
