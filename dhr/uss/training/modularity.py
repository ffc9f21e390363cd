"""Modularity of a clustering of tokens: what the clusterbook of CAUSE and its probes maximise."""

import torch
from torch import Tensor

from dhr.core.numerics import unit_vectors

SHARPNESS = 0.1  # below it, two tokens' product of code similarities counts as small
AT_ONCE = 2**22  # products of code similarities that are in memory together, 16 MB


def modularity_loss(tokens: Tensor, codes: Tensor) -> Tensor:
    """Negative modularity of the graph of each image's tokens, clustered by their similarity to codes, averaged.

    With A = relu(cos(x_i, x_j)) and zero diagonal, degrees d, their sum e, W = A - d d^T / e and S = relu(cos(x, C)):

        delta_ij = max_k tanh(S_ik S_jk / 0.1),    loss = -mean over images of sum_ij (W_ij / e) delta_ij

    (Kim et al., "Causal Unsupervised Semantic Segmentation", 2023; Newman's modularity). The max stands outside of
    tanh here, which rises, and only the largest product of a pair gets a gradient. So the B x K x N x N products are
    looked through in chunks, and what stays in memory is N x N.

    Args:
        tokens: (B,N,D); no gradient reaches them.
        codes: (K,D).

    Returns:
        A number, in [-1,1]; 0 for an image whose tokens are all unlike each other, or zero.
    """
    tokens = tokens.detach()
    similarity = (unit_vectors(tokens, dim=2) @ unit_vectors(codes, dim=1).T).relu()
    losses = [-_modularity(each, own) for each, own in zip(unit_vectors(tokens, dim=2), similarity, strict=True)]
    return torch.stack(losses).mean()


def _modularity(tokens: Tensor, similarity: Tensor) -> Tensor:
    """Unit tokens (N,D) and their similarity (N,K) to the codes -> a number."""
    best = similarity.gather(1, _best_code(similarity.detach()))  # (N,N): S_ik at the code k that is best for i and j
    together = torch.tanh(best * best.T / SHARPNESS)
    return (_graph(tokens) * together).sum()


def _graph(tokens: Tensor) -> Tensor:
    """W / e of unit tokens (N,D): edges beyond what their degrees let expect, (N,N), adding up to 0."""
    edges = (tokens @ tokens.T).relu().fill_diagonal_(0)
    degrees = edges.sum(1)
    total = degrees.sum()
    total = total.masked_fill(total == 0, 1.0)
    return edges / total - torch.outer(degrees / total, degrees / total)


@torch.no_grad()
def _best_code(similarity: Tensor) -> Tensor:
    """(N,K) -> (N,N) the code of the largest S_ik S_jk for every pair, symmetric."""
    count = len(similarity)
    rows = min(max(AT_ONCE // similarity.numel(), 1), count)
    # Room for the products is taken once: small results between large ones that come and go would tear memory up.
    products, best = (
        similarity.new_empty(rows, *similarity.shape),
        similarity.new_empty((count, count), dtype=torch.int64),
    )
    for start in range(0, count, rows):
        some = similarity[start : start + rows]
        torch.mul(some[:, None], similarity, out=products[: len(some)])
        torch.argmax(products[: len(some)], 2, out=best[start : start + rows])
    return best
