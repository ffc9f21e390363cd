"""The contrastive loss of CAUSE: features whose codes are alike attract, features whose codes are unlike repel."""

from dataclasses import dataclass

import torch
from torch import Tensor

from dhr.core.numerics import unit_vectors


@dataclass(frozen=True)
class Relation:
    """Which codes attract and which repel each other; other pairs of codes have no effect.

    Attributes:
        alike: (C,C) bool.
        unlike: (C,C) bool.
    """

    alike: Tensor
    unlike: Tensor

    @classmethod
    def of(cls, codebook: Tensor, *, positive: float, negative: float) -> "Relation":
        """Codes (C,D) attract above a cosine of `positive` and repel below `negative`."""
        unit = unit_vectors(codebook.detach(), dim=1)
        cosines = unit @ unit.T
        return cls(cosines > positive, cosines < negative)

    def between(self, anchors: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor]:
        """(N) and (M) indices of codes -> which pairs attract and which repel, (N,M) bool each."""
        return self.alike[anchors][:, candidates], self.unlike[anchors][:, candidates]


def contrast(
    anchors: Tensor, candidates: Tensor, alike: Tensor, unlike: Tensor, *, temperature: float
) -> tuple[Tensor, Tensor]:
    """Contrastive loss, summed over the pairs that are alike, and their number.

    With s = cos / temperature, the loss of an anchor i and a candidate j that are alike is
    -s_ij + log(sum of exp(s_ik) over the candidates k that are alike or unlike).

    Args:
        anchors: (N,E).
        candidates: (M,E).
        alike: (N,M) bool.
        unlike: (N,M) bool.
        temperature: above 0.

    Returns:
        The sum, 0 and differentiable where no pair is alike, and the number of pairs.
    """
    scores = unit_vectors(anchors, dim=1) @ unit_vectors(candidates, dim=1).T / temperature
    # Finite, not -inf: an anchor without a candidate of either kind has no loss, and its gradient must not be NaN.
    compared = scores.masked_fill(~(alike | unlike), torch.finfo(scores.dtype).min)
    pairs = alike.sum(1)
    total = (pairs * compared.logsumexp(1)).sum() - (scores * alike).sum()
    return total, pairs.sum()
