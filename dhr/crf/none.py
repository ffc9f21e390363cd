"""No CRF: probabilities are normalised and otherwise left alone. For ablations and fast trials."""

from dataclasses import dataclass

from torch import Tensor

from dhr.crf.interface import normalised


@dataclass(frozen=True)
class NoField:
    """A batch whose probabilities are only normalised.

    Attributes:
        valid: (B,H,W) bool.
    """

    valid: Tensor

    def __call__(self, probabilities: Tensor, present: Tensor) -> Tensor:
        """See `dhr.crf.interface.Field`."""
        return normalised(probabilities, self.valid, present)


@dataclass(frozen=True)
class NoCrf:
    """A CRF without pairwise terms: every pixel keeps its own distribution.

    >>> import torch
    >>> pixels, valid = torch.zeros(1, 3, 1, 2, dtype=torch.uint8), torch.tensor([[[True, False]]])
    >>> field = NoCrf().on(pixels, valid)
    >>> field(torch.full((1, 3, 1, 2), 0.2), torch.tensor([[True, False, True]])).tolist()
    [[[[0.5, 0.0]], [[0.0, 0.0]], [[0.5, 0.0]]]]
    """

    @property
    def workers(self) -> int:
        """See `dhr.crf.interface.Crf`."""
        return 0

    def on(self, pixels: Tensor, valid: Tensor) -> NoField:
        """See `dhr.crf.interface.Crf`; `pixels` are not read."""
        return NoField(valid)
