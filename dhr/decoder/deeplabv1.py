"""DeepLabv1 (LargeFOV): one dilated convolution on C5."""

from torch import Tensor, nn

from dhr.core.ranges import Dropout, Width
from dhr.core.sample import Decoded
from dhr.decoder.interface import Decoder
from dhr.decoder.rates import rates_at

RATES = (12,)  # at output stride 8


class DeepLabV1(Decoder):
    """Logits at the stride of C5, through two convolutions with batch norms and, as released, no ReLU.

    Args:
        backbone_channels: widths of C2..C5.
        output_stride: stride of C5, 8 or 16, which sets the dilation rate.
        num_classes: background included.
        channels: width of the decoder.
        dropout: before the last convolution.
    """

    def __init__(
        self,
        *,
        backbone_channels: tuple[int, int, int, int],
        output_stride: int,
        num_classes: int,
        channels: Width = 512,
        dropout: Dropout = 0.5,
    ) -> None:
        super().__init__()
        self.stride = output_stride
        (rate,) = rates_at(output_stride, RATES)
        self.field = nn.Sequential(
            nn.Conv2d(backbone_channels[3], channels, 3, padding=rate, dilation=rate, bias=False),
            nn.BatchNorm2d(channels),
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.Dropout(dropout),
        )
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, maps: tuple[Tensor, Tensor, Tensor, Tensor]) -> Decoded:
        """C2..C5 (B,D,h,w) -> logits (B,K,h,w)."""
        return Decoded(self.classifier(self.field(maps[3])))
