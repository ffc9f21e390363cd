"""Plain vision transformers through timm, DINOv2 and DINOv3 among them; their tokens become maps at four strides."""

import io
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from typing import Any, Literal

import timm
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dhr.backbone.frozen import FreezableBackbone
from dhr.backbone.pretrained import create, load_file, refuse_uneven
from dhr.core.errors import InputError
from dhr.core.numerics import at_places, resize
from dhr.core.ranges import Dropout, FrozenStages, SmallCount, Width
from dhr.core.tokens import Tokens

STRIDES = (4, 8, 16)  # of C2, C3 and C4, where the output stride is not below
WORDS = {"imagenet": "ImageNet's labels", "pretrained": "images without labels"}
NATIVE = re.compile(r"patch(\d+)")  # in timm's names


class Vit(FreezableBackbone):
    """A vision transformer: the tokens of four blocks, evenly spread, become C2..C5.

    They are those after a quarter, half, three quarters and all of the depth, so that C4 and C5, which rebalancing
    compares, are not one and the same; each goes through the last norm. The bilinear resize from the stride of the
    patches has no weights: a decoder that reads C5 alone leaves none untrained, which training on several devices
    would stop at. A decoder may also run the blocks itself, with tokens of its own among them.

    Args:
        name: of the architecture in timm, with the tag of its weights.
        embed: width of the tokens and of every map.
        depth: blocks, a multiple of four.
        heads: of the attention.
        patch: side of a patch in pixels; weights of another side are resampled by timm.
        output_stride: the stride of C5, and the largest of the others.
        drop_path: largest probability that a block is skipped in training; it grows with the depth.
        gradient_checkpointing: keeps no activations inside the blocks: less memory, a second forward pass.
        weights: timm's weights of this name, "imagenet" where they saw ImageNet's labels, "pretrained" where they saw
            images alone; a file of weights under timm's names, those of Meta or ours; or None.
        frozen_stages: 0: none; k: the embedding, the first k quarters of the blocks and the last norm do not learn:
            C2 is computed from that norm as well.
        frozen_norms: of batch norms; a vision transformer has none, so it changes nothing.

    Raises:
        InputError: a width that its heads cannot share, a depth that is no multiple of four, or weights that are not
            called so.
    """

    def __init__(
        self,
        name: Literal[
            "vit_small_patch16_224.augreg_in21k_ft_in1k",
            "vit_base_patch16_224.augreg2_in21k_ft_in1k",
            "vit_small_patch14_dinov2.lvd142m",
            "vit_base_patch14_dinov2.lvd142m",
            "vit_large_patch14_dinov2.lvd142m",
            "vit_small_patch14_reg4_dinov2.lvd142m",
            "vit_base_patch14_reg4_dinov2.lvd142m",
            "vit_large_patch14_reg4_dinov2.lvd142m",
            "vit_small_patch16_dinov3.lvd1689m",
            "vit_base_patch16_dinov3.lvd1689m",
            "vit_large_patch16_dinov3.lvd1689m",
        ],
        *,
        embed: Width,
        depth: SmallCount,
        heads: SmallCount,
        patch: Literal[8, 14, 16] = 16,
        output_stride: Literal[8, 16, 32] = 16,
        drop_path: Dropout = 0.0,
        gradient_checkpointing: bool = False,
        weights: str | None = None,
        frozen_stages: FrozenStages = 0,
        frozen_norms: bool = False,
    ) -> None:
        super().__init__()
        refuse_uneven(embed, heads, place="backbone.heads")
        refuse_uneven(depth, 4, place="backbone.depth: the maps come from four blocks")
        published = _word_of(name)
        if weights in WORDS and weights != published:
            raise InputError(
                f"backbone.weights={weights}: timm's weights of {name} saw {WORDS[published]}; "
                f"use backbone.weights={published}, a file or null"
            )
        self.layers: Any = create(
            name,
            weights=weights,
            published=published,
            embed_dim=embed,
            depth=depth,
            num_heads=heads,
            drop_path_rate=drop_path,
            patch_size=patch,
            img_size=_known_grid(name) * patch,  # so that positions lie on the grid on which they were learnt
            dynamic_img_size=True,
            dynamic_img_pad=True,
            num_classes=0,
        )
        self.depth, self.patch, self.output_stride = depth, patch, output_stride
        self.gradient_checkpointing = gradient_checkpointing
        self.channels: tuple[int, int, int, int] = (embed, embed, embed, embed)
        if weights is not None and weights != published:
            load_file(self.layers, weights, renamed=self._timm_names)
        self.freeze(frozen_stages, norms=frozen_norms)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(B,3,H,W) -> C2 (stride 4), C3 (8), C4 (16) and C5, none above the output stride."""
        tokens, after = self.embed(image), []
        for number in range(self.depth):
            tokens = self.step(number, tokens)
            after.append(tokens)
        c2, c3, c4, c5 = (self.map_of(after, quarter, image) for quarter in (1, 2, 3, 4))
        return c2, c3, c4, c5

    def embed(self, image: Tensor) -> Tokens:
        """(B,3,H,W) -> the tokens before the first block; sides are filled up to whole patches with zeros."""
        cells = self.layers.patch_embed(image)  # (B,h,w,D)
        placed = self.layers._pos_embed(cells)  # noqa: SLF001 - timm has no public name for it
        values, turns = placed if isinstance(placed, tuple) else (placed, None)
        grid = (cells.shape[1], cells.shape[2])
        return Tokens(self.layers.norm_pre(values), grid, self.layers.num_prefix_tokens, turns)

    def step(self, number: int, tokens: Tokens, seen: Tensor | None = None) -> Tokens:
        """The tokens after block `number`, from 0; `seen` (B,1,N,N) bool says which ones each of them attends to."""
        block, known = self.layers.blocks[number], {"rope": tokens.turns, "attn_mask": seen}
        given: dict[str, Any] = {name: value for name, value in known.items() if value is not None}
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return replace(tokens, values=checkpoint(block, tokens.values, use_reentrant=False, **given))
        return replace(tokens, values=block(tokens.values, **given))

    def normed(self, tokens: Tokens) -> Tokens:
        """Tokens after the last norm, which is made for those of the last block."""
        return replace(tokens, values=self.layers.norm(tokens.values))

    def map_of(self, after: Sequence[Tokens], quarter: int, image: Tensor) -> Tensor:
        """C2..C5 of an image, for 1..4 quarters of the depth, from the tokens after each block."""
        stride = min((*STRIDES, self.output_stride)[quarter - 1], self.output_stride)
        cells = self.normed(after[self.depth * quarter // 4 - 1]).patches  # of the padded image
        # Rounded up without a negative number, whose quotients ONNX rounds to the other side.
        rows, columns = ((side + stride - 1) // stride for side in image.shape[-2:])
        return at_stride(cells, self.patch, stride)[..., :rows, :columns]

    def blocks_of(self) -> dict[nn.Parameter, int]:
        """The block that each parameter belongs to; the embedding goes with the first, the last norm with the last."""
        found: dict[nn.Parameter, int] = {}
        for name, parameter in self.layers.named_parameters():
            parts = name.split(".")
            block = int(parts[1]) if parts[0] == "blocks" else 0
            found[parameter] = self.depth - 1 if parts[0] == "norm" else block
        return found

    def _timm_names(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Weights of Meta under timm's names, patches and positions resampled to ours; others as they are."""
        convert = vars(sys.modules[type(self.layers).__module__])["checkpoint_filter_fn"]
        try:
            with redirect_stdout(io.StringIO()):  # timm prints what it leaves out
                converted: dict[str, Tensor] = convert(dict(weights), self.layers)
        except (AssertionError, AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError):
            return weights  # of something else: loading them says what does not fit
        return converted


def at_stride(cells: Tensor, patch: int, stride: int) -> Tensor:
    """Cells (B,D,h,w) of patches, a side of `patch` pixels each, as cells of `stride` pixels.

    Where a whole number of patches makes a cell, their largest values; else bilinear at the centres of the new cells.

    >>> row = torch.tensor([[[[0.0, 4.0, 8.0, 12.0]]]])
    >>> at_stride(row, 8, 16).tolist(), at_stride(row[..., :2], 8, 4).tolist()
    ([[[[4.0, 12.0]]]], [[[[0.0, 1.0, 3.0, 4.0], [0.0, 1.0, 3.0, 4.0]]]])
    >>> at_stride(row, 14, 16).shape  # 56 pixels
    torch.Size([1, 1, 1, 4])
    """
    height, width = (cells.shape[-2] * patch, cells.shape[-1] * patch)
    if stride > patch and stride % patch == 0:
        return nn.functional.max_pool2d(cells, stride // patch, ceil_mode=True)
    if patch % stride == 0:
        return resize(cells, (height // stride, width // stride))
    rows, columns = (
        (torch.arange((side + stride - 1) // stride, device=cells.device) + 0.5) * (stride / patch) - 0.5
        for side in (height, width)
    )
    return at_places(cells, rows, columns)


def _known_grid(name: str) -> int:
    """Patches along a side of the images that the weights of a name were trained on."""
    native = NATIVE.search(name)
    known: Any = timm.get_pretrained_cfg(name)
    side: int = known.input_size[-1]
    return side // int(native[1]) if native else 1


def _word_of(name: str) -> str:
    """What timm's weights of a name are called."""
    return "imagenet" if "in1k" in name else "pretrained"
