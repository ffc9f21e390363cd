"""Plain vision transformer through timm, whose tokens are resized to maps at four strides."""

from typing import Any, Literal

from torch import Tensor, nn

from dhr.backbone.frozen import FreezableBackbone
from dhr.backbone.pretrained import create, load_file, refuse_uneven
from dhr.core.numerics import resize
from dhr.core.ranges import Dropout, FrozenStages, SmallCount, Width

PATCH = 16
STRIDES = (4, 8, 16)  # of C2, C3 and C4


class Vit(FreezableBackbone):
    """A vision transformer: the tokens of four blocks, evenly spread, become C2..C5.

    They are those after a quarter, half, three quarters and all of the depth, so that C4 and C5, which rebalancing
    compares, are not one and the same; each goes through the last norm. The bilinear resize from stride 16 has no
    weights: a decoder that reads C5 alone leaves none untrained, which training on several devices would stop at.

    Args:
        name: of the architecture in timm, with the tag of its weights.
        embed: width of the tokens and of every map.
        depth: blocks, a multiple of four.
        heads: of the attention.
        output_stride: the stride of C5.
        drop_path: largest probability that a block is skipped in training; it grows with the depth.
        gradient_checkpointing: keeps no activations inside the blocks: less memory, a second forward pass.
        weights: "imagenet" for timm's pretrained weights, a file of weights under timm's names, or None.
        frozen_stages: 0: none; k: the embedding, the first k quarters of the blocks and the last norm do not learn:
            C2 is computed from that norm as well.
        frozen_norms: of batch norms; a vision transformer has none, so it changes nothing.

    Raises:
        InputError: a width that its heads cannot share, or a depth that is no multiple of four.
    """

    def __init__(
        self,
        name: Literal[
            "vit_small_patch16_224.augreg_in21k_ft_in1k",
            "vit_base_patch16_224.augreg2_in21k_ft_in1k",
        ],
        *,
        embed: Width,
        depth: SmallCount,
        heads: SmallCount,
        output_stride: Literal[16, 32] = 16,
        drop_path: Dropout = 0.0,
        gradient_checkpointing: bool = False,
        weights: str | None = None,
        frozen_stages: FrozenStages = 0,
        frozen_norms: bool = False,
    ) -> None:
        super().__init__()
        refuse_uneven(embed, heads, place="backbone.heads")
        refuse_uneven(depth, 4, place="backbone.depth: the maps come from four blocks")
        body = create(
            name,
            weights=weights,
            embed_dim=embed,
            depth=depth,
            num_heads=heads,
            drop_path_rate=drop_path,
            dynamic_img_size=True,
            dynamic_img_pad=True,
            num_classes=0,
        )
        body.set_grad_checkpointing(gradient_checkpointing)
        self.blocks = [depth * quarter // 4 - 1 for quarter in (1, 2, 3, 4)]
        self.output_stride = output_stride
        self.channels: tuple[int, int, int, int] = (embed, embed, embed, embed)
        self.layers: Any = body
        if weights is not None and weights != "imagenet":
            load_file(self.layers, weights)
        self.freeze(frozen_stages, norms=frozen_norms)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(B,3,H,W) -> C2 (stride 4), C3 (8), C4 (16) and C5 (the output stride)."""
        tokens = self.layers.forward_intermediates(image, self.blocks, norm=True, intermediates_only=True)
        strides = (*STRIDES, self.output_stride)
        maps = []
        for cells, stride in zip(tokens, strides, strict=True):  # (B,D,h,w) of the padded image
            grid = (cells.shape[-2] * PATCH // stride, cells.shape[-1] * PATCH // stride)
            values = nn.functional.max_pool2d(cells, 2, ceil_mode=True) if stride > PATCH else resize(cells, grid)
            # Rounded up without a negative number, whose quotients ONNX rounds to the other side.
            rows, columns = ((side + stride - 1) // stride for side in image.shape[-2:])
            maps.append(values[..., :rows, :columns])
        c2, c3, c4, c5 = maps
        return c2, c3, c4, c5
