"""One file of probabilities: an fp16 tensor (K,H,W) as safetensors, with the names of its K classes."""

import json
from collections.abc import Sequence

from safetensors.torch import save
from torch import Tensor

KEY = "probabilities"


def encode_soft(probabilities: Tensor, names: Sequence[str]) -> bytes:
    """(K,H,W) float16 as the bytes of a file; its metadata hold the class names as JSON under "classes".

    >>> from safetensors.torch import load
    >>> load(encode_soft(Tensor([[[0.25]], [[0.75]]]).half(), ["background", "cat"]))["probabilities"].flatten()
    tensor([0.2500, 0.7500], dtype=torch.float16)
    """
    return save({KEY: probabilities.contiguous()}, metadata={"classes": json.dumps(list(names))})
