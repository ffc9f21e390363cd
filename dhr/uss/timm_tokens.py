"""Tokens of any network of timm, frozen: transformers with rotary positions, convolutional networks, and others."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Le
from torch import Tensor

from dhr.core.colour import MEAN, STD
from dhr.core.errors import InputError
from dhr.core.ranges import Name, Precision
from dhr.disk.weights.state import load_strictly, only_tensors
from dhr.network.precision import mixed
from dhr.uss.frozen import Frozen
from dhr.uss.zoo import PLACE, create, read_file, refuse_no_weights


class TimmTokens(Frozen):
    """The map of one block of a frozen network, without CLS and registers, normed where timm norms it.

    Images come normalised for ImageNet; a network that was trained with another mean and deviation gets its own.

    Args:
        name: timm's, for instance vit_small_patch16_dinov3.lvd1689m or tf_efficientnet_lite0.
        weights: "pretrained" for timm's download, a file with timm's names, whose classifier is left out, or "random"
            for tests and timings.
        sha256: of the file; None takes any.
        block: whose map, from 0: layers of a transformer, stages of others. None is the last.
        final_layers: the map that ImageNet's classifier pools, behind the layers that follow the last block of a
            convolutional network; `block` has to be None.
        output_stride: pixels per cell of the last stage, of networks that can be dilated; None leaves them alone.
        precision: of the matrix products; what comes out is float32.

    Raises:
        InputError: no such network or block, or one that gives no map for images of any size; weights that are
            missing, others than `sha256` says, or of another network.
    """

    def __init__(
        self,
        *,
        name: Name,
        weights: str | None,
        sha256: str | None = None,
        block: Annotated[int, Ge(0), Le(1000)] | None = None,
        final_layers: bool = False,
        output_stride: Literal[8, 16, 32] | None = None,
        precision: Precision = "fp32",
    ) -> None:
        super().__init__()
        refuse_no_weights(weights, sha256)
        self.layers = _create(name, weights == "pretrained", output_stride)
        if weights is not None and weights not in ("pretrained", "random"):
            path = Path(weights)
            content = read_file(path, sha256)
            tensors = only_tensors(content.get("state_dict", content), path)
            tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
            load_strictly(self.layers, without_classifier(tensors, self.layers), path)
        if final_layers and block is not None:
            raise InputError(f"{PLACE}.block: {block}: final_layers=true reads none; set {PLACE}.block=null")
        blocks = getattr(self.layers, "feature_info", None)
        if not blocks or not hasattr(self.layers, "forward_intermediates"):
            raise InputError(
                f"{PLACE}.name: {name}: timm gives no maps of a {type(self.layers).__name__}; use another, such as "
                "vit_small_patch16_dinov3.lvd1689m"
            )
        self.block = len(blocks) - 1 if block is None else block
        if not 0 <= self.block < len(blocks):
            allowed = f"allowed are 0 to {len(blocks) - 1}, the blocks of {name}, and null"
            raise InputError(f"{PLACE}.block: {block}: {allowed}")
        self.patch_size = int(blocks[self.block]["reduction"])
        self.final_layers = final_layers
        self.precision = precision
        self.colours = recolouring(self.layers.pretrained_cfg)
        self.freeze()
        self.dim: int = _probed(self, name)

    @torch.no_grad()
    def forward(self, image: Tensor) -> Tensor:
        """See `dhr.core.extractor.Extractor`."""
        if self.colours is not None:
            planes = zip(image.unbind(1), self.colours, strict=True)
            image = torch.stack([plane * factor + shift for plane, (factor, shift) in planes], 1)
        with mixed(self.precision, image.device):
            if self.final_layers:
                cells = self.layers.forward_features(image)
            else:
                (cells,) = self.layers.forward_intermediates(
                    image, indices=[self.block], norm=True, stop_early=True, output_fmt="NCHW", intermediates_only=True
                )
        return cells.float()


def recolouring(known: Mapping[str, Any]) -> list[tuple[float, float]] | None:
    """Factor and shift of each colour that lead from ImageNet's normalisation to a network's own, None if it is that.

    Args:
        known: timm's facts about the weights; `mean` and `std` are of RGB in [0,1].
    """
    if (tuple(known["mean"]), tuple(known["std"])) == (MEAN, STD):
        return None
    colours = zip(MEAN, STD, known["mean"], known["std"], strict=True)
    return [(deviation / std, (middle - mean) / std) for middle, deviation, mean, std in colours]


def _create(name: str, pretrained: bool, output_stride: int | None) -> Any:
    """The network; transformers need `dynamic_img_size` for images of any size, other networks do not accept it."""
    dilated = {} if output_stride is None else {"output_stride": output_stride}
    try:
        return create(name, pretrained=pretrained, what="network", dynamic_img_size=True, **dilated)
    except InputError as error:
        if "'output_stride'" in str(error):
            raise _not_dilated(name, output_stride) from error
        if "'dynamic_img_size'" not in str(error):
            raise
    try:
        return create(name, pretrained=pretrained, what="network", **dilated)
    except InputError as error:
        raise _not_dilated(name, output_stride) if "'output_stride'" in str(error) else error from error


def _not_dilated(name: str, output_stride: int | None) -> InputError:
    return InputError(
        f"{PLACE}.output_stride: {output_stride}: {name} cannot be dilated; set {PLACE}.output_stride=null"
    )


def _probed(tokens: TimmTokens, name: str) -> int:
    """Number of channels, by a small image that is not square."""
    height, width = 2 * tokens.patch_size, 3 * tokens.patch_size
    cure = f"use another {PLACE}.name"
    try:
        cells = tokens(torch.zeros(1, 3, height, width))
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(
            f"{PLACE}.name: {name}: gives no map of {height} x {width} pixels ({error}); {cure}"
        ) from error
    if cells.ndim == 3:  # tokens of a transformer
        raise InputError(f"{PLACE}.final_layers: true: {name} has no layers behind its last block; set it to false")
    if cells.shape[2:] != (2, 3):
        grid = " x ".join(map(str, cells.shape[2:]))
        raise InputError(f"{PLACE}.name: {name}: {height} x {width} pixels give {grid} cells, not 2 x 3; {cure}")
    return cells.shape[1]


def without_classifier(weights: Mapping[str, Tensor], layers: Any) -> dict[str, Tensor]:
    """Weights without those of the classifier, whose layers timm's configuration of the network names."""
    names = layers.pretrained_cfg["classifier"] or ()
    parts = tuple(f"{part}." for part in ([names] if isinstance(names, str) else names))
    own = layers.state_dict()
    return {name: value for name, value in weights.items() if name in own or not name.startswith(parts)}
