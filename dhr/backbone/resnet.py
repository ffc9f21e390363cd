"""ResNet through timm, dilated to output stride 8 or 16, with the dilations of the official weights on request."""

from typing import Any, Literal

from torch import Tensor

from dhr.backbone.frozen import FreezableBackbone
from dhr.backbone.pretrained import create, load_file
from dhr.core.ranges import FrozenStages, Width


class ResNet(FreezableBackbone):
    """A ResNet that returns C2..C5.

    Args:
        name: of the architecture.
        output_stride: the stride of C5; 32, undilated, is for decoders that make up for it, such as mask2former.
        dilation: "official" as the released weights were trained (the first block of layer4 undilated at stride 8,
            nothing dilated at stride 16), or "timm" as timm and torchvision do it.
        weights: "imagenet" for timm's pretrained weights, a file of weights under torchvision's names, or None.
        widths: channels inside the blocks of the four stages, None for the standard ones.
        frozen_stages: 0: none; k: nothing that C2..C(k+1) are computed from learns.
        frozen_norms: batch norms keep their running statistics; their scale and shift learn.
    """

    def __init__(
        self,
        name: Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"],
        *,
        output_stride: Literal[8, 16, 32] = 8,
        dilation: Literal["official", "timm"] = "official",
        weights: str | None = None,
        widths: tuple[Width, Width, Width, Width] | None = None,
        frozen_stages: FrozenStages = 0,
        frozen_norms: bool = False,
    ) -> None:
        super().__init__()
        options: dict[str, Any] = {} if widths is None else {"channels": tuple(widths)}
        layers = create(name, weights=weights, features_only=True, output_stride=output_stride, **options)
        # At stride 8 the official weights leave the first block of layer4 undilated, at stride 16 all of layer4.
        blocks = {8: layers.layer4[:1], 16: layers.layer4}.get(output_stride, ())
        for block in blocks if dilation == "official" else ():
            # The last convolution of a basic block keeps its dilation at stride 8: "first block" means its first 3x3.
            for part in ("conv1", "conv2") if output_stride == 16 or hasattr(block, "conv3") else ("conv1",):
                convolution = getattr(block, part)
                if convolution.kernel_size == (3, 3):
                    convolution.dilation = convolution.padding = (1, 1)
        if weights is not None and weights != "imagenet":
            load_file(layers, weights)
        self.layers = layers
        self.output_stride = output_stride
        self.channels: tuple[int, int, int, int] = tuple(layers.feature_info.channels()[1:])
        self.freeze(frozen_stages, norms=frozen_norms)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(B,3,H,W) -> C2 (stride 4), C3 (8), C4 and C5 (at most the output stride)."""
        _, c2, c3, c4, c5 = self.layers(image)
        return c2, c3, c4, c5
