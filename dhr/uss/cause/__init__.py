"""CAUSE (Kim et al., 2023): one block of attention from the nearest codes to the tokens, and a head of 90 channels."""

from collections.abc import Mapping
from math import isqrt
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from dhr.core.errors import InputError
from dhr.core.extractor import Extractor as Extractor
from dhr.core.numerics import resize, unit_vectors
from dhr.disk.weights.state import load_strictly, only_tensors
from dhr.network.precision import mixed
from dhr.uss.frozen import Frozen, Tokens
from dhr.uss.head_file import PATCH, read_head, refuse_other_tokens

HIDDEN = 2048  # width of the feed-forward layer
DROPOUT = 0.1
PREFIX = "head_ema."  # released files hold the averaged head under this name

QueryResize = Literal["2d", "1d"]


class CauseHead(nn.Module):
    """Tokens -> features in which things of one kind are close, by a codebook of concepts.

    Its weights have the names of the released ones, without `PREFIX`.

    Args:
        dim: channels of the tokens.
        cells: number of learnt queries, a square grid: that of the crops it is trained on.
        width: channels of the features.
        query_resize: how queries get to another grid: "2d" bilinearly; "1d" as released, linearly along the
            flattened grid, where the end of a row runs into the start of the next one.
    """

    def __init__(self, *, dim: int, cells: int = 529, width: int = 90, query_resize: QueryResize = "2d") -> None:
        super().__init__()
        if isqrt(cells) ** 2 != cells:
            raise InputError(f"cells: {cells}: the queries lie on a square grid; use {isqrt(cells) ** 2}")
        self.query_resize = query_resize
        self.query_pos = nn.Parameter(torch.randn(cells, dim))
        self.tr = _Block(dim, width)

    def forward(self, tokens: Tensor, codebook: Tensor) -> Tensor:
        """(B,D,h,w) and (C,D) -> (B,width,h,w)."""
        grid = (tokens.shape[-2], tokens.shape[-1])
        memory = tokens.flatten(2).transpose(1, 2)
        queries = self.query_pos.T[None]
        if self.query_resize == "1d":
            queries = functional.interpolate(queries, grid[0] * grid[1], mode="linear", align_corners=False)
        else:
            side = isqrt(queries.shape[2])
            queries = resize(queries.unflatten(2, (side, side)), grid).flatten(2)
        return self.tr(memory, nearest_codes(memory, codebook), queries.transpose(1, 2), grid)


class _Block(nn.Module):
    """A decoder block of one head, post-norm, whose result is added to the tokens, and two branches to `width`."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(dim, 1, dropout=DROPOUT, batch_first=True)
        self.multihead_attn = nn.MultiheadAttention(dim, 1, dropout=DROPOUT, batch_first=True)
        self.linear1, self.linear2 = nn.Linear(dim, HIDDEN), nn.Linear(HIDDEN, dim)
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.dropout = nn.Dropout(DROPOUT)
        self.f1 = nn.Conv2d(dim, width, 1)
        self.f2 = nn.Sequential(nn.Conv2d(dim, dim, 1), nn.ReLU(), nn.Conv2d(dim, width, 1))

    def forward(self, memory: Tensor, codes: Tensor, queries: Tensor, grid: tuple[int, int]) -> Tensor:
        """Tokens and their codes (B,N,D), queries (1,N,D) -> (B,width,h,w) with h*w = N."""
        positioned = codes + queries
        attended, _ = self.self_attn(positioned, positioned, codes, need_weights=False)
        state = self.norm1(codes + self.dropout(attended))
        attended, _ = self.multihead_attn(state + queries, memory, memory, need_weights=False)
        state = self.norm2(state + self.dropout(attended))
        hidden = self.linear2(self.dropout(functional.relu(self.linear1(state))))
        state = memory + self.norm3(state + self.dropout(hidden))
        cells = state.transpose(1, 2).unflatten(2, grid)
        return self.f1(self.dropout(cells)) + self.f2(self.dropout(cells))


def nearest_codes(tokens: Tensor, codebook: Tensor) -> Tensor:
    """The code of largest cosine for every token: (B,N,D) and (C,D) -> (B,N,D); codes as they are, not normalised."""
    # The length of a token does not change which of its cosines is largest.
    cosines = tokens @ unit_vectors(codebook, dim=1).T
    return codebook[cosines.argmax(-1)]


class CauseExtractor(Frozen):
    """Tokens of a frozen backbone, then the head in a file, in the precision of the tokens.

    Raises:
        InputError: the file is missing, not whole, or of a head for other tokens.
    """

    def __init__(self, *, tokens: Tokens, weights: str, query_resize: QueryResize = "2d") -> None:
        super().__init__()
        self.tokens = tokens
        self.head, codebook = load_cause(Path(weights), tokens, query_resize=query_resize)
        self.codebook: Tensor
        self.register_buffer("codebook", codebook)
        self.patch_size = tokens.patch_size
        self.dim = self.head.tr.f1.out_channels
        self.freeze()

    @torch.no_grad()
    def forward(self, image: Tensor) -> Tensor:
        """See `dhr.core.extractor.Extractor`."""
        tokens = self.tokens(image)
        with mixed(self.tokens.precision, image.device):
            return self.head(tokens, self.codebook).float()


def load_cause(path: Path, tokens: Tokens, *, query_resize: QueryResize = "2d") -> tuple[CauseHead, Tensor]:
    """Head and codebook (C,D) of a file, released or made here.

    Raises:
        InputError: missing, not whole, or of a head for other tokens than these.
    """
    content = read_head(path, "cause", ("decoder", "codebook"))
    head, codebook = cause_in(content, path, query_resize=query_resize)
    cells, dim = head.query_pos.shape
    refuse_other_tokens(path, content, dim, tokens, cells=cells)
    return head, codebook


def cause_in(content: Mapping[str, Any], path: Path, *, query_resize: QueryResize = "2d") -> tuple[CauseHead, Tensor]:
    """Head and codebook (C,D) that the content of a file describes.

    Raises:
        InputError: a name or shape that does not fit; `path` is for the message.
    """
    decoder, codebook = only_tensors(content["decoder"], path), content["codebook"]
    queries = decoder.get(f"{PREFIX}query_pos")
    if queries is None or queries.ndim != 2 or not isinstance(codebook, Tensor) or codebook.ndim != 2:
        raise InputError(f"{path}: no head of CAUSE with its codebook; download or convert it anew")
    cells, dim = queries.shape
    if codebook.shape[1] != dim:
        raise InputError(f"{path}: codes of {codebook.shape[1]} channels, a head of {dim}; which file belongs to it?")
    width = len(decoder.get(f"{PREFIX}tr.f1.bias", range(90)))
    head = CauseHead(dim=dim, cells=cells, width=width, query_resize=query_resize)
    load_strictly(head, {name.removeprefix(PREFIX): value for name, value in decoder.items()}, path)
    return head, codebook.float()


def cause_file(head: CauseHead, codebook: Tensor, *, patch_size: int) -> Mapping[str, Any]:
    """Content of the file of a head: as released, and the patch size of its tokens."""
    decoder = {f"{PREFIX}{name}": value.detach().cpu().clone() for name, value in head.state_dict().items()}
    return {"decoder": decoder, "codebook": codebook.detach().cpu().clone(), PATCH: torch.tensor(patch_size)}
