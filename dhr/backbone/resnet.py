"""ResNet through timm, dilated to output stride 8 or 16, with the dilations of the official weights on request."""

from pathlib import Path
from typing import Any, Literal

import timm
from torch import Tensor, nn

from dhr.errors import InputError
from dhr.weights import load_strictly, read_weights


class ResNet(nn.Module):
    """A ResNet that returns C2..C5.

    Args:
        name: of the architecture.
        output_stride: the stride of C5.
        dilation: "official" as the released weights were trained (the first block of layer4 undilated at stride 8,
            nothing dilated at stride 16), or "timm" as timm and torchvision do it.
        weights: "imagenet" for timm's pretrained weights, a file of weights under torchvision's names, or None.
        widths: channels of the four stages of basic-block networks, None for the standard ones.
    """

    def __init__(
        self,
        name: Literal["resnet18", "resnet34", "resnet50", "resnet101"],
        *,
        output_stride: Literal[8, 16] = 8,
        dilation: Literal["official", "timm"] = "official",
        weights: str | None = None,
        widths: tuple[int, int, int, int] | None = None,
    ) -> None:
        super().__init__()
        options: dict[str, Any] = {} if widths is None else {"channels": tuple(widths)}
        layers = _create(name, output_stride, pretrained=weights == "imagenet", options=options)
        if dilation == "official":
            _undilate(layers, output_stride)
        if weights is not None and weights != "imagenet":
            _load(layers, Path(weights))
        self.layers = layers
        self.output_stride = output_stride
        self.channels: tuple[int, int, int, int] = tuple(layers.feature_info.channels()[1:])

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(B,3,H,W) -> C2 (stride 4), C3 (8), C4 and C5 (8 or 16)."""
        _, c2, c3, c4, c5 = self.layers(image)
        return c2, c3, c4, c5


def _create(name: str, output_stride: int, *, pretrained: bool, options: dict[str, Any]) -> Any:
    try:
        return timm.create_model(
            name, pretrained=pretrained, features_only=True, output_stride=output_stride, **options
        )
    except (OSError, RuntimeError) as error:
        if not pretrained:
            raise
        raise InputError(
            f"backbone.weights=imagenet: the weights of {name} could not be fetched ({type(error).__name__}); "
            "connect to the network once, or save a torchvision state dict and set backbone.weights=<file>"
        ) from error


def _load(layers: Any, path: Path) -> None:
    """Loads a file of weights; a classifier of ImageNet has a last layer that we do not."""
    if not path.is_file():
        raise InputError(f"backbone.weights={path}: no such file; allowed are imagenet, null or a file of weights")
    weights = {name: value for name, value in read_weights(path).items() if not name.startswith("fc.")}
    load_strictly(layers, weights, path)


def _undilate(layers: Any, output_stride: int) -> None:
    """Sets the dilation of layer4's first block (stride 8) or of all of layer4 (stride 16) to 1."""
    blocks = layers.layer4[:1] if output_stride == 8 else layers.layer4
    for block in blocks:
        # The last convolution of a basic block keeps its dilation at stride 8: "first block" means its first 3x3.
        for name in ("conv1", "conv2") if output_stride == 16 or hasattr(block, "conv3") else ("conv1",):
            convolution = getattr(block, name)
            if convolution.kernel_size == (3, 3):
                convolution.dilation = convolution.padding = (1, 1)
