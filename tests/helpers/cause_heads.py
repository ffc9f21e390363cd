"""Heads of CAUSE with weights that all show, and tokens for them."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dhr.uss.cause import CauseHead


class Tokens(nn.Module):
    """Stands for a backbone of any width and patch: mean colours, turned into `dim` channels."""

    def __init__(self, dim: int, patch_size: int, precision: str = "fp32") -> None:
        super().__init__()
        self.dim, self.patch_size, self.precision = dim, patch_size, precision

    def forward(self, image: Tensor) -> Tensor:
        colours = functional.avg_pool2d(image, self.patch_size)
        return torch.cat([(colours * (1 + number)).sin() for number in range(-(-self.dim // 3))], 1)[:, : self.dim]


def head_of(dim: int = 12, cells: int = 9, **options: Any) -> CauseHead:
    torch.manual_seed(0)
    head = CauseHead(dim=dim, cells=cells, **options).eval()
    for parameter in head.parameters():  # biases start at 0, where a missing one would not show
        nn.init.normal_(parameter, std=0.3)
    return head


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape)))


def saved(path: Path, content: object) -> str:
    torch.save(content, path)
    return str(path)
