"""Any architecture of timm that gives maps at strides 4, 8, 16 and 32."""

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import timm
import torch
from timm.layers import padding
from torch import Tensor, nn
from torch.nn import functional

from dhr.backbone.frozen import FreezableBackbone, weights_of
from dhr.backbone.pretrained import create, load_file
from dhr.core.errors import InputError
from dhr.core.ranges import FrozenStages, Name
from dhr.core.words import nearest

STRIDES = (4, 8, 16, 32)
TRIAL = (97, 130)  # of the first image: neither is a multiple of a stride, and at every stride both are odd at times
IMAGENET = re.compile(r"in\d+k")  # in timm's tags of weights


class TimmNetwork(FreezableBackbone):
    """A network of timm whose last map at each of the strides 4, 8, 16 and 32 is C2..C5.

    What only ImageNet's classifier reads is left out. Sizes that are no multiples of 32 are padded with zeros, below
    and on the right, where the network would lose cells otherwise.

    Args:
        name: of the architecture in timm, with or without the tag of its weights.
        output_stride: the stride of C5, and the largest of the others.
        final_layers: C5 is the map that ImageNet's classifier pools, behind the layers that follow the last stage; in
            an EfficientNet a convolution, a batch norm and an activation.
        weights: "imagenet" for timm's weights, a file of weights under timm's names, which may hold the classifier as
            well, or None.
        frozen_stages: 0: none; k: nothing that C2..C(k+1) are computed from learns.
        frozen_norms: batch norms keep their running statistics.

    Raises:
        InputError: timm has no such network, or it gives no such maps at this output stride.
    """

    def __init__(
        self,
        name: Name,
        *,
        output_stride: Literal[8, 16, 32] = 16,
        final_layers: bool = False,
        weights: str | None = None,
        frozen_stages: FrozenStages = 0,
        frozen_norms: bool = False,
    ) -> None:
        super().__init__()
        whole = _whole(name)
        tag = whole.pretrained_cfg.get("tag") or ""
        if weights == "imagenet" and not IMAGENET.search(tag):
            known = [each for each in timm.list_models(f"{_plain(name)}.*", pretrained=True) if IMAGENET.search(each)]
            cure = f"ImageNet's are {', '.join(known)}" if known else "use backbone.weights=<file> or null"
            raise InputError(
                f"backbone.weights=imagenet: timm's {tag or 'no'} weights of {name} are not ImageNet's; {cure}"
            )
        self.output_stride = output_stride
        self.indices = _last_of_each_stride(name, whole)
        self.final_layers = final_layers
        self.layers: Any = _dilated(name, output_stride, weights, self.indices)
        self.multiple = 1
        maps = self._try(name)
        c2, c3, c4, c5 = (features.shape[1] for features in maps)
        self.channels: tuple[int, int, int, int] = (c2, c3, c4, c5)
        _leave_out_unused(self.layers, maps)
        if weights is not None and weights != "imagenet":
            load_file(self.layers, weights, spare=whole.state_dict().keys() - self.layers.state_dict().keys())
        self.freeze(frozen_stages, norms=frozen_norms)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(B,3,H,W) -> C2 (stride 4), C3 (8), C4 (16) and C5 (32), each at most at the output stride."""
        height, width = image.shape[-2:]
        margins = (0, -width % self.multiple, 0, -height % self.multiple)
        maps = self._maps(functional.pad(image, margins) if any(margins) else image)
        # Rounded up without a negative number, whose quotients ONNX rounds to the other side.
        c2, c3, c4, c5 = (
            features[..., : (height + stride - 1) // stride, : (width + stride - 1) // stride]
            for features, stride in zip(maps, self._strides(), strict=True)
        )
        return c2, c3, c4, c5

    def _strides(self) -> list[int]:
        return [min(stride, self.output_stride) for stride in STRIDES]

    def _maps(self, image: Tensor) -> Sequence[Tensor]:
        maps: Sequence[Tensor]
        if not hasattr(self.layers, "forward_intermediates"):
            maps = final = self.layers(image)
        elif not self.final_layers:
            maps = self.layers.forward_intermediates(image, self.indices, intermediates_only=True)
        else:
            final, maps = self.layers.forward_intermediates(image, self.indices)
        if not self.final_layers:
            return maps
        if final is maps or final is maps[3]:
            raise InputError(
                "backbone.final_layers: true: nothing lies between the last stage of this network and the pooling of "
                "ImageNet's classifier; use backbone.final_layers=false"
            )
        return [*maps[:3], final]

    def _try(self, name: str) -> Sequence[Tensor]:
        """Maps of a first image in eval mode; finds out whether sizes have to be padded.

        Raises:
            InputError: the maps have other strides than asked for, or there is no layer behind the last stage.
        """
        device, problem = next(self.layers.parameters()).device, ""
        self.eval()
        for self.multiple in (1, max(STRIDES)):
            sides = [side + -side % self.multiple for side in TRIAL]
            wanted = [[math.ceil(side / stride) for side in sides] for stride in self._strides()]
            try:
                with torch.enable_grad():
                    maps = self._maps(torch.zeros(1, 3, *sides, device=device))
            except (AssertionError, AttributeError, RuntimeError, TypeError, ValueError) as error:
                problem = f"an image of {sides} ends with {type(error).__name__} {' '.join(str(error).split())[:200]}"
                continue
            sizes = [list(features.shape[2:]) for features in maps]
            if sizes == wanted:
                self.train()
                return maps
            problem = f"an image of {sides} gives maps of {sizes} and not {wanted}"
        raise InputError(
            f"backbone.name: {name}: at backbone.output_stride={self.output_stride} {problem}; set the output stride "
            "that it has, or use an architecture for images of any size, such as tf_efficientnet_lite0"
        )


@contextmanager
def padded_as_written_short() -> Iterator[None]:
    """Meanwhile timm writes the padding of its layers for images of any size in fewer words, with the same numbers.

    Such layers, of networks that begin with `tf_`, pad by a number that depends on the image; behind five of them,
    timm's own formula is too long for torch.export.

    >>> with padded_as_written_short():
    ...     [padding.get_same_padding(side, 3, 2, 1) for side in (8, 9)]
    [1, 2]
    """
    own = padding.get_same_padding

    def short(x: int, kernel_size: int, stride: int, dilation: int) -> int:
        reach = (kernel_size - 1) * dilation + 1
        total = reach - 1 - (x - 1) % stride
        return total if reach >= stride else max(total, 0)

    padding.get_same_padding = short
    try:
        yield
    finally:
        padding.get_same_padding = own


def _whole(name: str) -> Any:
    """The network with its classifier and without dilation; it has names and shapes, but no values.

    Raises:
        InputError: timm has no such architecture, or no such weights of it.
    """
    if not timm.is_model(name):
        raise InputError(
            f"backbone.name: {name}: timm {timm.__version__} has no such architecture; "
            f'{nearest(name, timm.list_models())}python -c "import timm; print(timm.list_models())" lists them'
        )
    try:
        with torch.device("meta"):
            return timm.create_model(name)
    except RuntimeError as error:
        raise InputError(
            f"backbone.name: {name}: timm cannot build it ({' '.join(str(error).split())[:200]}); allowed are "
            f"{', '.join(timm.list_models(f'{_plain(name)}.*', pretrained=True)) or _plain(name)}"
        ) from error


def _plain(name: str) -> str:
    return name.partition(".")[0]


def _last_of_each_stride(name: str, whole: Any) -> list[int]:
    """Numbers of the network's maps that are the last ones at the strides.

    Raises:
        InputError: it has none at some stride.
    """
    listed = getattr(whole, "feature_info", []) if hasattr(whole, "forward_intermediates") else []
    last = {info["reduction"]: number for number, info in enumerate(listed)}
    if not {*STRIDES} <= last.keys():
        strides = ", ".join(map(str, last)) or "no stride"
        raise InputError(
            f"backbone.name: {name}: gives maps at {strides}; strides 4, 8, 16 and 32 are needed, as of resnet18, "
            "tf_efficientnet_lite0, mobilenetv3_large_100, convnext_tiny, regnety_016 and their like"
        )
    return [last[stride] for stride in STRIDES]


def _dilated(name: str, output_stride: int, weights: str | None, indices: list[int]) -> Any:
    """The network; where timm only dilates a variant of it that gives maps and nothing else, that one.

    Raises:
        InputError: timm cannot dilate it.
    """
    if output_stride == max(STRIDES):
        return create(name, weights=weights, num_classes=0)
    refused: Exception | None = None
    for options in ({"num_classes": 0}, {"features_only": True, "out_indices": indices}):
        try:
            return create(name, weights=weights, output_stride=output_stride, **options)
        except (AssertionError, NotImplementedError, TypeError, ValueError) as error:
            refused = error
    raise InputError(
        f"backbone.output_stride: {output_stride}: timm cannot dilate {name} so far; use backbone.output_stride=32 "
        "with decoder=mask2former, or another backbone.name, such as tf_efficientnet_lite0"
    ) from refused


def _leave_out_unused(layers: nn.Module, maps: Sequence[Tensor]) -> None:
    """Removes layers that no map is computed from: training on several devices fails at weights without gradients."""
    needed = {id(parameter) for parameter in weights_of(layers, maps)}
    for name, child in layers.named_children():
        own = [id(parameter) for parameter in child.parameters()]
        if own and needed.isdisjoint(own):
            layers.add_module(name, nn.Identity())
    for parameter in layers.parameters():
        parameter.requires_grad_(id(parameter) in needed)
