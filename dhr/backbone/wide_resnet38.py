"""Wide-ResNet-38 (Wu, Shen, van den Hengel: Wider or Deeper, 2016), at output stride 8, under its official names."""

from itertools import pairwise

from torch import Tensor, nn

from dhr.backbone.frozen import FreezableBackbone
from dhr.backbone.pretrained import load_file
from dhr.core.ranges import FrozenStages, Width

MOMENTUM = 3e-4  # of the batch norms, where they are not frozen
# Per stage: blocks, widths of the convolutions of a block in units of the base width, stride, dilations of the first
# block and of the others.
STAGES = {
    "b2": (3, (2, 2), 2, (1, 1), (1, 1)),
    "b3": (3, (4, 4), 2, (1, 1), (1, 1)),
    "b4": (6, (8, 8), 2, (1, 1), (1, 1)),
    "b5": (3, (8, 16), 1, (1, 2), (2, 2)),
}
BOTTLENECKS = {"b6": ((8, 16, 32), 0.3), "b7": ((16, 32, 64), 0.5)}  # widths and dropout; the 3x3 has dilation 4


class WideResNet38(FreezableBackbone):
    """A pre-activated residual network of few wide blocks.

    Args:
        weights: a file of weights under the official names (conv1a.weight, b2.bn_branch2a.weight, ...), or None.
        frozen: the first convolution and every batch norm stay as they were loaded, as the field trains it.
        width: of the first convolution; 64 in the paper.
        frozen_stages: 0: none; k: nothing that C2..C(k+1) are computed from learns.
        frozen_norms: batch norms keep their running statistics; their scale and shift learn.
    """

    def __init__(
        self,
        *,
        weights: str | None = None,
        frozen: bool = True,
        width: Width = 64,
        frozen_stages: FrozenStages = 0,
        frozen_norms: bool = False,
    ) -> None:
        super().__init__()
        self.layers = Layers(width)
        self.output_stride = 8
        self.channels: tuple[int, int, int, int] = (4 * width, 8 * width, 16 * width, 64 * width)
        if weights is not None:
            load_file(self.layers, weights)
        self.freeze(frozen_stages, norms=frozen_norms or frozen)
        for module in self.layers.modules() if frozen else ():
            if isinstance(module, nn.BatchNorm2d) or module is self.layers.conv1a:
                module.requires_grad_(False)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(B,3,H,W) -> C2 (stride 4), C3, C4 and C5 (stride 8)."""
        return self.layers(image)


class Layers(nn.Module):
    """The blocks, named as in the official weights."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1a = nn.Conv2d(3, width, 3, padding=1, bias=False)
        channels = width
        for stage, (blocks, units, stride, first, others) in STAGES.items():
            widths: tuple[int, ...] = tuple(unit * width for unit in units)
            for number in range(blocks):
                block = Block(channels, widths, stride=1 if number else stride, dilations=others if number else first)
                self.add_module(f"{stage}_{number}" if number else stage, block)
                channels = widths[-1]
        for stage, (bottleneck, dropout) in BOTTLENECKS.items():
            widths = tuple(unit * width for unit in bottleneck)
            self.add_module(stage, Block(channels, widths, kernels=(1, 3, 1), dilations=(1, 4, 1), dropout=dropout))
            channels = widths[-1]
        self.bn7 = nn.BatchNorm2d(channels, momentum=MOMENTUM)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """C2 is the output of b3_2; C3 and C4 are what the convolutions of b5 and b6 see, activated; C5 of bn7."""
        inputs, activated = {}, {}
        values = self.conv1a(image)
        for name, block in self.named_children():
            if isinstance(block, Block):
                inputs[name] = values
                activated[name], values = block(values)
        return inputs["b4"], activated["b5"], activated["b6"], self.bn7(values).relu()


class Block(nn.Module):
    """A residual block: batch norm, ReLU and convolution, two or three times.

    Where the shape changes, the shortcut is a 1x1 convolution of the first activation; else it is the raw input.
    """

    bn_branch2a: nn.BatchNorm2d
    conv_branch2a: nn.Conv2d

    def __init__(
        self,
        in_channels: int,
        widths: tuple[int, ...],
        *,
        kernels: tuple[int, ...] = (3, 3),
        dilations: tuple[int, ...],
        stride: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.names = ("branch2a", "branch2b1", "branch2b2")[: len(widths)]
        for place, (wide, width) in enumerate(pairwise((in_channels, *widths))):
            kernel, dilation = kernels[place], dilations[place]
            self.add_module(f"bn_{self.names[place]}", nn.BatchNorm2d(wide, momentum=MOMENTUM))
            convolution = nn.Conv2d(
                wide,
                width,
                kernel,
                stride=1 if place else stride,
                padding=dilation * (kernel // 2),
                dilation=dilation,
                bias=False,
            )
            self.add_module(f"conv_{self.names[place]}", convolution)
        self.dropout = nn.Dropout2d(dropout)
        self.changes = stride > 1 or in_channels != widths[-1]
        if self.changes:
            self.conv_branch1 = nn.Conv2d(in_channels, widths[-1], 1, stride=stride, bias=False)

    def forward(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """(B,D,h,w) -> its first activation, and the output."""
        first = self.bn_branch2a(values).relu()
        branch = self.conv_branch2a(first)
        for name in self.names[1:]:
            activated = self.get_submodule(f"bn_{name}")(branch).relu()
            branch = self.get_submodule(f"conv_{name}")(self.dropout(activated))
        return first, branch + (self.conv_branch1(first) if self.changes else values)
