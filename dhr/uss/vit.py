"""Tokens of DINO (Caron et al., 2021) and DINOv2 (Oquab et al., 2023), frozen, through timm."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer as Layers
from torch import Tensor
from torch.nn import functional

from dhr.core.errors import InputError
from dhr.core.ranges import Name, Precision
from dhr.disk.weights.state import load_strictly, only_tensors
from dhr.network.precision import mixed
from dhr.uss.frozen import Frozen
from dhr.uss.zoo import PLACE, create, read_file, refuse_no_weights

OFFSET = 0.1  # cells; both families resample their positions as if the new grid were that much larger
RENAMED = {".mlp.w12.": ".mlp.fc1.", ".mlp.w3.": ".mlp.fc2.", "register_tokens": "reg_token"}  # DINOv2 -> timm
TRAINING_ONLY = ("head.", "dino_head.", "ibot_head.", "mask_token")


class VisionTransformer(Frozen):
    """A frozen vision transformer: what its last norm gives for every patch, without CLS and registers.

    Args:
        name: timm's, for instance vit_small_patch8_224.dino.
        weights: "pretrained" for timm's download, a file of DINO, DINOv2 or timm, or "random" for tests and timings.
        sha256: of the file; None takes any.
        precision: of the matrix products; what comes out is float32.

    Raises:
        InputError: no such transformer; weights that are missing, others than `sha256` says, or of another network.
    """

    def __init__(
        self,
        *,
        name: Name,
        weights: str | None,
        sha256: str | None = None,
        precision: Precision = "fp32",
    ) -> None:
        super().__init__()
        refuse_no_weights(weights, sha256)
        pretrained = weights == "pretrained"
        layers = create(name, pretrained=pretrained, what="vision transformer", dynamic_img_size=True)
        if not isinstance(layers, Layers):
            raise InputError(
                f"{PLACE}.name: {name}: is a {type(layers).__name__}, not a plain vision transformer; "
                f"use uss/tokens=timm {PLACE}.name={name}"
            )
        self.layers = layers
        if weights is not None and weights not in ("pretrained", "random"):
            path = Path(weights)
            load_strictly(self.layers, only_tensors(timm_names(read_file(path, sha256)), path), path)
        self.precision = precision
        self.patch_size: int = self.layers.patch_embed.patch_size[0]
        self.dim: int = self.layers.embed_dim
        self.freeze()

    @torch.no_grad()
    def forward(self, image: Tensor) -> Tensor:
        """See `dhr.core.extractor.Extractor`."""
        layers = self.layers
        with mixed(self.precision, image.device):
            cells = layers.patch_embed(image)  # (B,h,w,D)
            tokens = layers.norm(layers.blocks(layers.norm_pre(self._placed(cells))))
        patches = tokens[:, layers.num_prefix_tokens :].float()
        return patches.transpose(1, 2).unflatten(2, cells.shape[1:3])

    def _placed(self, cells: Tensor) -> Tensor:
        """(B,h,w,D) -> (B,1+registers+h*w,D): every cell with its position, behind CLS and registers."""
        layers: Any = self.layers
        before = [part for part in (layers.cls_token, layers.reg_token) if part is not None]
        prefix, known = torch.cat(before, 1), layers.pos_embed
        if not layers.no_embed_class:
            prefix, known = prefix + known[:, : prefix.shape[1]], known[:, prefix.shape[1] :]
        square = known.transpose(1, 2).unflatten(2, layers.patch_embed.grid_size)
        grid = (cells.shape[1], cells.shape[2])
        placed = cells.flatten(1, 2) + resample_positions(square, grid, registers=layers.reg_token is not None)
        return torch.cat([prefix.expand(len(cells), -1, -1).to(placed.dtype), placed], 1)


def resample_positions(positions: Tensor, grid: tuple[int, int], *, registers: bool = False) -> Tensor:
    """Position embeddings of another grid, by the rule of the models' authors: bicubic, with a = -0.75.

    Cell i of n lies at (i + 0.5) * N / (n + OFFSET) - 0.5 of the N known ones. The models with registers were
    trained without OFFSET and with anti-aliasing. (timm anti-aliases always, which also changes a to -0.5.)

    Args:
        positions: (1,D,N,N) as learnt.
        grid: (h,w) to resample to.
        registers: whether the model has registers.

    Returns:
        (1,h*w,D); `positions` themselves where the grid is theirs.
    """
    if tuple(positions.shape[-2:]) != grid:
        # DINO scales by a factor and gets a grid by rounding down; both are given here, the factor counts.
        factors = [(side + OFFSET) / known for side, known in zip(grid, positions.shape[-2:], strict=True)]
        rule: dict[str, Any] = {"size": grid, "antialias": True} if registers else {"scale_factor": factors}
        positions = functional.interpolate(positions, mode="bicubic", align_corners=False, **rule)
    return positions.flatten(2).transpose(1, 2)


def timm_names(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """Weights of a DINO, DINOv2 or timm file under timm's names.

    Of a checkpoint of a whole training the teacher's backbone is taken; heads that only served the training are left
    out. DINOv2's models with registers add the position of CLS to it in a parameter of its own; timm keeps the sum.
    """
    weights = {name.removeprefix("module."): value for name, value in content.get("teacher", content).items()}
    if any(name.startswith("backbone.") for name in weights):
        weights = {name.removeprefix("backbone."): value for name, value in weights.items() if "backbone." in name}
    weights = {name: value for name, value in weights.items() if not name.startswith(TRAINING_ONLY)}
    if "register_tokens" in weights:
        positions = weights["pos_embed"]
        weights |= {"cls_token": weights["cls_token"] + positions[:, :1], "pos_embed": positions[:, 1:]}
    for theirs, ours in RENAMED.items():
        weights = {name.replace(theirs, ours): value for name, value in weights.items()}
    return weights
