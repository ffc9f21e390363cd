"""DeepLabv2: the sum of four dilated classifiers on C5."""

from torch import Tensor, nn

from dhr.core.sample import Decoded
from dhr.decoder.interface import Decoder
from dhr.decoder.rates import rates_at

RATES = (6, 12, 18, 24)  # at output stride 8


class DeepLabV2(Decoder):
    """Logits at the stride of C5: atrous spatial pyramid pooling, added up.

    Args:
        backbone_channels: widths of C2..C5.
        output_stride: stride of C5, 8 or 16, which sets the dilation rates.
        num_classes: background included.
    """

    def __init__(self, *, backbone_channels: tuple[int, int, int, int], output_stride: int, num_classes: int) -> None:
        super().__init__()
        self.stride = output_stride
        self.branches = nn.ModuleList(
            nn.Conv2d(backbone_channels[3], num_classes, 3, padding=rate, dilation=rate)
            for rate in rates_at(output_stride, RATES)
        )

    def forward(self, maps: tuple[Tensor, Tensor, Tensor, Tensor]) -> Decoded:
        """C2..C5 (B,D,h,w) -> logits (B,K,h,w)."""
        first, *others = (branch(maps[3]) for branch in self.branches)
        return Decoded(sum(others, first))
