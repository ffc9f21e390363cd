"""What all models of unsupervised features share: they are frozen, and compute in a chosen precision."""

from contextlib import AbstractContextManager
from typing import Literal, Protocol, Self

import torch
from torch import nn

from dhr.core.extractor import Extractor

Precision = Literal["fp32", "bf16", "fp16"]
DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Tokens(Extractor, Protocol):
    """A frozen backbone under a head, which computes in its precision."""

    precision: Precision


class Frozen(nn.Module):
    """Always in eval mode; `freeze` ends the constructor of what has parameters.

    Attributes:
        precision: of the matrix products, also of a head that is put on top.
    """

    precision: Precision = "fp32"

    def freeze(self) -> None:
        """Turns gradients off for all parameters, and eval mode on."""
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """Stays in eval mode, also as a part of a module that is trained."""
        return super().train(False)


def mixed(precision: Precision, device: torch.device) -> AbstractContextManager[None]:
    """Matrix products in "fp32", "bf16" or "fp16", whatever autocast surrounds the call."""
    return torch.autocast(device.type, dtype=DTYPES[precision], enabled=precision != "fp32")
