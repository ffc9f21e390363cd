"""DeepLabv3+: atrous spatial pyramid pooling on C5, refined with low-level features of C2."""

import torch
from torch import Tensor, nn

from dhr.core.numerics import resize
from dhr.core.ranges import Dropout, Width
from dhr.core.sample import Decoded
from dhr.decoder.interface import Decoder
from dhr.decoder.rates import rates_at

RATES = (12, 24, 36)  # of the three dilated branches, at output stride 8


def conv_bn_relu(in_channels: int, out_channels: int, kernel: int, *, rate: int = 1) -> nn.Sequential:
    """Convolution without bias, batch norm, ReLU; the size of the map is kept."""
    padding = rate * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, padding=padding, dilation=rate, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


class PyramidPooling(nn.Module):
    """ASPP: a 1x1, three dilated 3x3 and a global branch, concatenated in this order and projected."""

    def __init__(self, in_channels: int, channels: int, *, rates: tuple[int, ...], dropout: float) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            [
                conv_bn_relu(in_channels, channels, 1),
                *(conv_bn_relu(in_channels, channels, 3, rate=rate) for rate in rates),
            ]
        )
        self.pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), conv_bn_relu(in_channels, channels, 1))
        self.project = nn.Sequential(
            conv_bn_relu(channels * (len(rates) + 2), channels, 1),
            nn.Dropout(dropout),
        )

    def forward(self, c5: Tensor) -> Tensor:
        """(B,D,h,w) -> (B,channels,h,w)."""
        size = (c5.shape[-2], c5.shape[-1])
        maps = [branch(c5) for branch in self.branches]
        return self.project(torch.cat([*maps, resize(self.pooled(c5), size)], dim=1))


class DeepLabV3Plus(Decoder):
    """Logits at stride 4 from C2 and C5.

    Args:
        backbone_channels: widths of C2..C5.
        output_stride: stride of C5, 8 or 16, which sets the dilation rates.
        num_classes: background included.
        channels: width of the decoder.
        low_level_channels: width of C2 after its projection.
        dropout: after the pyramid and after the two 3x3 convolutions.
    """

    def __init__(
        self,
        *,
        backbone_channels: tuple[int, int, int, int],
        output_stride: int,
        num_classes: int,
        channels: Width = 256,
        low_level_channels: Width = 48,
        dropout: tuple[Dropout, Dropout, Dropout] = (0.5, 0.5, 0.1),
    ) -> None:
        super().__init__()
        self.stride = 4
        rates = rates_at(output_stride, RATES)
        self.pyramid = PyramidPooling(backbone_channels[3], channels, rates=rates, dropout=dropout[0])
        self.low_level = conv_bn_relu(backbone_channels[0], low_level_channels, 1)
        self.refine = nn.Sequential(
            conv_bn_relu(channels + low_level_channels, channels, 3),
            nn.Dropout(dropout[1]),
            conv_bn_relu(channels, channels, 3),
            nn.Dropout(dropout[2]),
        )
        self.classifier = nn.Conv2d(channels, num_classes, 1, bias=False)

    def forward(self, maps: tuple[Tensor, Tensor, Tensor, Tensor]) -> Decoded:
        """C2 (B,D2,h4,w4) to C5 (B,D5,h,w) -> logits (B,K,h4,w4)."""
        c2, _, _, c5 = maps
        low = self.low_level(c2)
        wide = resize(self.pyramid(c5), (low.shape[-2], low.shape[-1]))
        return Decoded(self.classifier(self.refine(torch.cat([wide, low], dim=1))))
