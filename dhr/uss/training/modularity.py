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
    tanh here, which is monotonic, and only the largest product of a pair gets a gradient. So the B x K x N x N products
    are computed in chunks, and only N x N of them stay in memory.

    Args:
        tokens: (B,N,D); no gradient reaches them.
        codes: (K,D).

    Returns:
        A number, in [-1,1]; 0 for an image whose tokens are all unlike each other, or zero.
    """
    tokens = tokens.detach()
    similarity = (unit_vectors(tokens, dim=2) @ unit_vectors(codes, dim=1).T).relu()
    losses = []
    for unit, own in zip(unit_vectors(tokens, dim=2), similarity, strict=True):  # (N,D) and (N,K) of an image
        best = own.gather(1, _best_code(own.detach()))  # (N,N): S_ik at the code k that is best for i and j
        together = torch.tanh(best * best.T / SHARPNESS)
        edges = (unit @ unit.T).relu().fill_diagonal_(0)
        degrees = edges.sum(1)
        total = degrees.sum()
        total = total.masked_fill(total == 0, 1.0)
        graph = edges / total - torch.outer(degrees / total, degrees / total)  # W / e, which adds up to 0
        losses.append(-(graph * together).sum())
    return torch.stack(losses).mean()


@torch.no_grad()
def _best_code(similarity: Tensor) -> Tensor:
    """(N,K) -> (N,N) the code of the largest S_ik S_jk for every pair, symmetric."""
    count = len(similarity)
    rows = min(max(AT_ONCE // similarity.numel(), 1), count)
    # The products get their memory once: allocating them anew between small results would fragment the memory.
    products, best = (
        similarity.new_empty(rows, *similarity.shape),
        similarity.new_empty((count, count), dtype=torch.int64),
    )
    for start in range(0, count, rows):
        some = similarity[start : start + rows]
        torch.mul(some[:, None], similarity, out=products[: len(some)])
        torch.argmax(products[: len(some)], 2, out=best[start : start + rows])
    return best
