"""Swin transformer through timm: maps at strides 4, 8, 16 and 32 of images of any size."""

from typing import Any, Literal

from torch import Tensor, nn
from torch.nn import functional

from dhr.backbone.frozen import FreezableBackbone
from dhr.backbone.pretrained import create, load_file, refuse_uneven
from dhr.core.ranges import Dropout, FrozenStages, SmallCount, Width

PATCH = 4


class Swin(FreezableBackbone):
    """A Swin transformer whose four stages, each with a layer norm of its own, are C2..C5.

    Sizes that are no multiple of the patch or of a window are padded with zeros, below and on the right, as in the
    authors' detection and segmentation code.

    Args:
        name: of the architecture in timm, with the tag of its weights.
        embed: width of C2; every further map is twice as wide.
        depths: blocks per stage.
        heads: of the attention, per stage.
        window: side of a window, in patches.
        drop_path: largest probability that a block is skipped in training; it grows with the depth.
        gradient_checkpointing: keeps no activations inside the stages: less memory, a second forward pass.
        weights: "imagenet" for timm's pretrained weights, a file of weights under timm's names or ours, or None.
        frozen_stages: 0: none; k: nothing that C2..C(k+1) are computed from learns, their norms included.
        frozen_norms: of batch norms; a Swin transformer has none, so it changes nothing.

    Raises:
        InputError: a width that its heads cannot share.
    """

    def __init__(
        self,
        name: Literal[
            "swin_tiny_patch4_window7_224.ms_in1k",
            "swin_small_patch4_window7_224.ms_in1k",
            "swin_base_patch4_window12_384.ms_in22k",
            "swin_large_patch4_window12_384.ms_in22k",
        ],
        *,
        embed: Width,
        depths: tuple[SmallCount, SmallCount, SmallCount, SmallCount],
        heads: tuple[SmallCount, SmallCount, SmallCount, SmallCount],
        window: SmallCount,
        drop_path: Dropout = 0.0,
        gradient_checkpointing: bool = False,
        weights: str | None = None,
        frozen_stages: FrozenStages = 0,
        frozen_norms: bool = False,
    ) -> None:
        super().__init__()
        self.channels: tuple[int, int, int, int] = (embed, 2 * embed, 4 * embed, 8 * embed)
        for width, number in zip(self.channels, heads, strict=True):
            refuse_uneven(width, number, place="backbone.heads")
        body = create(
            name,
            weights=weights,
            embed_dim=embed,
            depths=tuple(depths),
            num_heads=tuple(heads),
            window_size=window,
            drop_path_rate=drop_path,
            strict_img_size=False,
            num_classes=0,
        )
        body.norm = nn.Identity()  # of the classifier
        body.set_grad_checkpointing(gradient_checkpointing)
        self.output_stride = 32
        norms = nn.ModuleList(nn.LayerNorm(width) for width in self.channels)
        self.layers: Any = nn.ModuleDict({"body": body, "norms": norms})
        if weights is not None and weights != "imagenet":
            load_file(self.layers, weights, body="body")
        self.freeze(frozen_stages, norms=frozen_norms)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(B,3,H,W) -> C2 (stride 4), C3 (8), C4 (16) and C5 (32)."""
        padding = (0, -image.shape[-1] % PATCH, 0, -image.shape[-2] % PATCH)
        maps = self.layers.body.forward_intermediates(functional.pad(image, padding), intermediates_only=True)
        c2, c3, c4, c5 = (
            norm(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            for norm, features in zip(self.layers.norms, maps, strict=True)
        )
        return c2, c3, c4, c5
