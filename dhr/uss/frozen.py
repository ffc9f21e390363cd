"""What all models of unsupervised features share: they do not learn, and compute in the precision they are given."""

from contextlib import AbstractContextManager
from typing import Self

import torch
from torch import nn

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Frozen(nn.Module):
    """Always in eval mode; `freeze` ends the constructor of what has parameters."""

    def freeze(self) -> None:
        """Takes part in no training from now on."""
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """Stays in eval mode, also as a part of something that learns."""
        return super().train(False)


def mixed(precision: str, device: torch.device) -> AbstractContextManager[None]:
    """Matrix products in "fp32", "bf16" or "fp16", whatever surrounds the call."""
    return torch.autocast(device.type, dtype=DTYPES[precision], enabled=precision != "fp32")
