"""What the queries of a mask classifier say of the class of every pixel."""

import torch
from torch import Tensor

from dhr.core.sample import Queries


def semantic_logits(queries: Queries) -> Tensor:
    """(B,K,h,w) logits whose soft-max are the semantic scores, normalised over the classes.

    The score of a class is the sum over the queries of its probability, "no object" left out, times the sigmoid of the
    query's mask (Cheng et al., CVPR 2022, section 3.4). Float32; uniform where no query claims a pixel.
    """
    with torch.autocast(queries.masks.device.type, enabled=False):
        classes = queries.classes.float().softmax(-1)[..., :-1]
        scores = torch.einsum("bqk,bqhw->bkhw", classes, queries.masks.float().sigmoid())
        scores = scores.clamp_min(torch.finfo(scores.dtype).tiny)
        return scores.log() - scores.sum(1, keepdim=True).log()
