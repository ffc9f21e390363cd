"""CLIP, SigLIP, SigLIP 2 and TIPSv2: how the cells of an image get into the space of the texts."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from dhr.core.errors import InputError
from dhr.wss.image_text.model import PLACE, ImageText, alone


class Clip(ImageText):
    """CLIP (Radford et al., ICML 2021), and what was trained in its form.

    The image's vector is the projection of the CLS token behind the last block, so that block is where cells are
    gathered. "value": a cell is what it contributes there, its own value through the output layer, without attention
    (MaskCLIP, Zhou et al., ECCV 2022), and without skip connection and MLP (ClearCLIP, Lan et al., ECCV 2024). "last":
    a cell is its token behind the block.
    """

    def cells(self, image: Tensor) -> Tensor:
        """See `ImageText`."""
        vision = self.layers.vision_model
        hidden = vision.pre_layrnorm(vision.embeddings(image, interpolate_pos_encoding=True))
        *earlier, last = vision.encoder.layers
        for layer in earlier:
            hidden = layer(hidden, None)
        if self.through == "value":
            hidden = last.self_attn.out_proj(last.self_attn.v_proj(last.layer_norm1(hidden)))
        else:
            hidden = last(hidden, None)
        return self.layers.visual_projection(vision.post_layernorm(hidden[:, 1:]))

    @property
    def logit_scale(self) -> float:
        """See `ImageText`."""
        return float(self.layers.logit_scale.exp())


class Siglip(ImageText):
    """SigLIP (Zhai et al., ICCV 2023), and SigLIP 2 (Tschannen et al., 2025) of fixed resolution.

    The image's vector is what an attention with a learnt query pools from all tokens, and an MLP makes of it. "value":
    a cell is what this head makes of its token alone, which is the vector of an image whose attention is all there.
    """

    padding: ClassVar[Mapping[str, Any]] = {
        "padding": "max_length"
    }  # the text's vector is that of the last token, padding or not
    text_inputs: ClassVar[Sequence[str]] = ("input_ids",)

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if self.through != "value":
            raise InputError(
                f"{PLACE}.tokens: {self.through}: the last attention of this model pools the whole image, so it gives "
                f"no map; set {PLACE}.tokens=value"
            )

    def cells(self, image: Tensor) -> Tensor:
        """See `ImageText`."""
        vision = self.layers.vision_model
        hidden = self.embedded(image)
        for layer in vision.encoder.layers:
            hidden = layer(hidden, None)
        return alone(vision.head, vision.post_layernorm(hidden))

    def embedded(self, image: Tensor) -> Tensor:
        """(B,3,H,W) -> (B,h*w,D) patches with their places."""
        embedded: Tensor = self.layers.vision_model.embeddings(image, interpolate_pos_encoding=True)
        return embedded

    @property
    def logit_scale(self) -> float:
        """See `ImageText`."""
        return float(self.layers.logit_scale.exp())


class NaFlexSiglip(Siglip):
    """SigLIP 2 of native aspect ratio and flexible resolution, whose images come as lists of patches."""

    def embedded(self, image: Tensor) -> Tensor:
        """See `Siglip`; within a patch rows come first, then columns, then colours."""
        patch, batch = self.patch_size, len(image)
        grid = (image.shape[-2] // patch, image.shape[-1] // patch)
        patches = image.unflatten(3, (grid[1], patch)).unflatten(2, (grid[0], patch))  # (B,3,h,p,w,p)
        patches = patches.permute(0, 2, 4, 3, 5, 1).reshape(batch, grid[0] * grid[1], -1)
        embedded: Tensor = self.layers.vision_model.embeddings(patches, torch.tensor([grid] * batch))
        return embedded


class Tips(ImageText):
    """TIPSv2, whose training compared patches with texts, too. The last block is treated as that of CLIP."""

    padding: ClassVar[Mapping[str, Any]] = {"padding": "max_length"}

    def cells(self, image: Tensor) -> Tensor:
        """See `ImageText`."""
        vision = self.layers.vision_model
        hidden = vision.embeddings(image)
        *earlier, last = vision.encoder.layer
        for layer in earlier:
            hidden = layer(hidden)
        if self.through == "value":
            hidden = last.layer_scale1(last.attention.o_proj(last.attention.v_proj(last.norm1(hidden))))
        else:
            hidden = last(hidden)
        return vision.layernorm(hidden)[:, 1 + vision.config.num_register_tokens :]

    @property
    def logit_scale(self) -> float:
        """See `ImageText`."""
        return 1 / float(self.layers.temperature)
