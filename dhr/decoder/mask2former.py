"""Mask2Former: queries that each predict a class and a mask; most layers are those of the library transformers."""

from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn
from transformers import Mask2FormerConfig
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerPixelDecoder,
    Mask2FormerPreTrainedModel,
    Mask2FormerTransformerModule,
)

from dhr.core.errors import InputError
from dhr.core.ranges import SmallCount, Width
from dhr.core.sample import Decoded, NetworkOutput, Queries
from dhr.decoder.interface import Decoder
from dhr.decoder.mask2former_loss import MaskLoss
from dhr.decoder.semantic import semantic_logits

STRIDES = (8, 16, 32)  # of C5; the attention takes three maps of any size, C2 gives the resolution of the masks
GROUPS = 32  # of the group norms in the pixel decoder


class Mask2FormerLayers(Mask2FormerPreTrainedModel):
    """What follows the backbone, composed as in transformers' whole model and initialised by it.

    The public model builds its own backbone from its configuration; these are its other parts.
    """

    def __init__(self, config: Mask2FormerConfig, channels: tuple[int, int, int, int], num_classes: int) -> None:
        super().__init__(config)
        self.pixel_decoder = Mask2FormerPixelDecoder(config, channels)
        self.transformer = Mask2FormerTransformerModule(config.feature_size, config)
        self.class_predictor = nn.Linear(config.hidden_dim, num_classes + 1)
        self.post_init()

    @classmethod
    def is_custom_code(cls) -> bool:
        """False: else transformers leaves its rules for whole layers out, and attention starts from other weights."""
        return False

    def forward(self, maps: tuple[Tensor, ...]) -> tuple[Queries, ...]:
        """C2..C5 -> the queries before the first and after every layer of the transformer."""
        # The deformable attention computes coordinates: half precision would move its points, as the authors note.
        with torch.autocast(maps[0].device.type, enabled=False):
            dtype = self.pixel_decoder.level_embed.dtype
            pixels = self.pixel_decoder([features.to(dtype) for features in maps])
        decoded = self.transformer(pixels.multi_scale_features, pixels.mask_features)
        return tuple(
            Queries(self.class_predictor(state.transpose(0, 1)), masks)
            for state, masks in zip(decoded.intermediate_hidden_states, decoded.masks_queries_logits, strict=True)
        )


class Mask2Former(Decoder):
    """Masked-attention Mask Transformer for Universal Image Segmentation (Cheng et al., CVPR 2022).

    Args:
        backbone_channels: widths of C2..C5.
        output_stride: stride of C5.
        num_classes: background included.
        criterion: the loss.
        queries: masks that are proposed, of which each class of an image gets one.
        channels: width of all maps and queries, a multiple of 32 and of `heads`.
        heads: of every attention.
        encoder_layers: of the deformable attention over C3, C4 and C5.
        decoder_layers: of the masked attention; each is supervised, and so are the queries before the first.
        encoder_width: of the hidden layer of an encoder layer.
        decoder_width: of the hidden layer of a decoder layer.

    Raises:
        InputError: another output stride, or a width that cannot be divided so.
    """

    exported_alone = True  # torch.export tells one image from several, where transformers flattens them

    def __init__(
        self,
        *,
        backbone_channels: tuple[int, int, int, int],
        output_stride: int,
        num_classes: int,
        criterion: MaskLoss,
        queries: Annotated[int, Ge(1), Le(16384)] = 100,
        channels: Width = 256,
        heads: SmallCount = 8,
        encoder_layers: SmallCount = 6,
        decoder_layers: SmallCount = 9,
        encoder_width: Width = 1024,
        decoder_width: Width = 2048,
    ) -> None:
        super().__init__()
        if output_stride not in STRIDES:
            allowed = ", ".join(map(str, STRIDES))
            raise InputError(f"decoder=mask2former: a backbone of output stride {output_stride}; allowed are {allowed}")
        if channels % GROUPS or channels % heads:
            raise InputError(
                f"decoder.channels={channels}: not a multiple of {GROUPS} and of decoder.heads={heads}; use 256, or 64"
            )
        self.stride = 4
        self.criterion = criterion
        config = Mask2FormerConfig(
            feature_size=channels,
            mask_feature_size=channels,
            hidden_dim=channels,
            num_queries=queries,
            num_attention_heads=heads,
            encoder_layers=encoder_layers,
            decoder_layers=decoder_layers + 1,  # transformers counts the queries before the first layer, too
            encoder_feedforward_dim=encoder_width,
            dim_feedforward=decoder_width,
        )
        self.layers = Mask2FormerLayers(config, backbone_channels, num_classes)

    def forward(self, maps: tuple[Tensor, Tensor, Tensor, Tensor]) -> Decoded:
        """C2 (B,D2,h4,w4) to C5 (B,D5,h,w) -> logits (B,K,h4,w4), and the queries of every layer, the last one last."""
        layers = self.layers(maps)
        return Decoded(semantic_logits(layers[-1]), layers)

    def loss(self, output: NetworkOutput, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """See `MaskLoss`; the logits play no part in it."""
        return self.criterion(output.queries, labels, weights)
