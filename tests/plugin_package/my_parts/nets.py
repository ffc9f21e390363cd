"""A backbone."""

from typing import Annotated, Literal

from annotated_types import Ge, Le
from torch import Tensor, nn

Width = Annotated[int, Ge(4), Le(1024)]


class MyNet(nn.Module):
    """Four convolutions: C2, C3, C4 and C5 of any image. What a backbone offers stands in dhr/network/segmentation.py.

    Args:
        width: of C2; the others are twice, four and eight times as wide.
        activation: between the convolutions.
    """

    def __init__(self, *, width: Width = 16, activation: Literal["relu", "gelu"] = "relu") -> None:
        super().__init__()
        self.channels = (width, 2 * width, 4 * width, 8 * width)
        self.output_stride = 16
        inputs = (3, *self.channels[:3])
        steps = (4, 2, 2, 1)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, 2 * step + 1, stride=step, padding=step)
            for before, after, step in zip(inputs, self.channels, steps, strict=True)
        )
        self.activation = nn.ReLU() if activation == "relu" else nn.GELU()

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(B,3,H,W) -> C2 (stride 4), C3 (8), C4 (16), C5 (16)."""
        maps = []
        for convolution in self.convolutions:
            image = self.activation(convolution(image))
            maps.append(image)
        c2, c3, c4, c5 = maps
        return c2, c3, c4, c5
