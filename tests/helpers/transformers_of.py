"""Small vision transformers with random weights, and pictures for them."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from dhr.uss.vit import VisionTransformer

TINY = "test_vit"  # of timm: 64 channels, patch 16, 10x10 positions


def transformer(name: str = TINY, **settings: Any) -> VisionTransformer:
    torch.manual_seed(0)
    return VisionTransformer(name=name, **{"weights": "random", **settings})


def picture(height: int, width: int) -> Tensor:
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(0))


def saved(path: Path, content: Any) -> str:
    save_file(content, path) if path.suffix == ".safetensors" else torch.save(content, path)
    return str(path)
