"""STEGO (Hamilton et al., 2022): tokens to 70 channels whose cosines are those of the tokens, made sharper."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dhr.core.errors import InputError
from dhr.core.extractor import Extractor as Extractor
from dhr.disk.weights.state import load_strictly, only_tensors
from dhr.network.precision import mixed
from dhr.uss.frozen import Frozen, Tokens
from dhr.uss.head_file import PATCH, read_head, refuse_other_tokens

DROPOUT = 0.1
PARTS = ("cluster1", "cluster2")


class StegoHead(nn.Module):
    """A linear and a non-linear branch, summed; each gets the tokens with its own dropout of channels.

    Args:
        dim: channels of the tokens.
        width: channels of the features.
    """

    def __init__(self, *, dim: int, width: int = 70) -> None:
        super().__init__()
        self.dropout = nn.Dropout2d(DROPOUT)
        self.cluster1 = nn.Sequential(nn.Conv2d(dim, width, 1))
        self.cluster2 = nn.Sequential(nn.Conv2d(dim, dim, 1), nn.ReLU(), nn.Conv2d(dim, width, 1))

    def forward(self, features: Tensor) -> Tensor:
        """(B,D,h,w) -> (B,width,h,w)."""
        return self.cluster1(self.dropout(features)) + self.cluster2(self.dropout(features))


class StegoExtractor(Frozen):
    """Tokens of a frozen backbone, then the head in a file, in the precision of the tokens.

    Raises:
        InputError: the file is missing, not whole, or of a head for other tokens.
    """

    def __init__(self, *, tokens: Tokens, weights: str) -> None:
        super().__init__()
        self.tokens = tokens
        self.head = load_stego(Path(weights), tokens)
        self.patch_size = tokens.patch_size
        self.dim = self.head.cluster1[0].out_channels
        self.freeze()

    @torch.no_grad()
    def forward(self, image: Tensor) -> Tensor:
        """See `dhr.core.extractor.Extractor`."""
        tokens = self.tokens(image)
        with mixed(self.tokens.precision, image.device):
            return self.head(tokens).float()


def load_stego(path: Path, tokens: Tokens) -> StegoHead:
    """Head of a file, released or made here.

    Raises:
        InputError: missing, not whole, or of a head for other tokens than these.
    """
    content = read_head(path, "stego", PARTS)
    head = stego_in(content, path)
    refuse_other_tokens(path, content, content["cluster1"]["0.weight"].shape[1], tokens)
    return head


def stego_in(content: Mapping[str, Any], path: Path) -> StegoHead:
    """Head that the content of a file describes.

    Raises:
        InputError: a name or shape that does not fit; `path` is for the message.
    """
    weights = {f"{part}.{name}": value for part in PARTS for name, value in only_tensors(content[part], path).items()}
    linear = weights.get("cluster1.0.weight")
    if linear is None or linear.ndim != 4:
        raise InputError(f"{path}: no head of STEGO; download or convert it anew")
    head = StegoHead(dim=linear.shape[1], width=linear.shape[0])
    load_strictly(head, weights, path)
    return head


def stego_file(head: StegoHead, *, patch_size: int) -> Mapping[str, Any]:
    """Content of the file of a head: as released, and the patch size of its tokens."""
    parts: dict[str, Any] = {
        part: {name: value.detach().cpu().clone() for name, value in getattr(head, part).state_dict().items()}
        for part in PARTS
    }
    return {**parts, PATCH: torch.tensor(patch_size)}
