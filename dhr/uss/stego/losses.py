"""The loss of STEGO: codes correspond where tokens do.

Hamilton et al., "Unsupervised Semantic Segmentation by Distilling Feature Correspondences", ICLR 2022.
"""

import torch
from torch import Tensor

from dhr.core.numerics import unit_vectors


def cosines(first: Tensor, second: Tensor) -> Tensor:
    """Cosines of every point of one image with every point of the other: (B,N,D) twice -> (B,N,N)."""
    return unit_vectors(first, dim=2) @ unit_vectors(second, dim=2).transpose(1, 2)


def centred(similarity: Tensor, average: Tensor) -> Tensor:
    """Takes each point's mean over the other image's points from (B,N,N) and adds the `average` of all back."""
    return similarity - similarity.mean(2, keepdim=True) + average


def correspondence_loss(tokens: Tensor, codes: Tensor, *, shift: float) -> Tensor:
    """-mean of max(S, 0) (F - shift).

    Args:
        tokens: F, centred cosines of the tokens (B,N,N).
        codes: S, cosines of the codes (B,N,N).
        shift: similarity of tokens above which codes attract, and below which they repel.
    """
    return -(codes.clamp_min(0) * (tokens - shift)).mean()


def derangement(count: int) -> Tensor:
    """A random permutation (count) in which no element keeps its place; drawn by torch's generator.

    `count` has to be at least 2: there is none of a single element.
    """
    while True:  # each attempt succeeds with a probability of 1/e or more
        order = torch.randperm(count)
        if not bool((order == torch.arange(count)).any()):
            return order
