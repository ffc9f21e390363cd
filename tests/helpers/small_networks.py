"""What tests of networks share: options shrunk to a size for tests, and the weights that the released numbers have."""

import json
import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from written import written

GOLDEN = "golden"
SHRUNK = {  # what makes a class of backbone or decoder small
    "ResNet": ["backbone.widths=[8,8,8,8]"],
    "TimmNetwork": ["backbone.name=test_efficientnet"],
    "WideResNet38": ["backbone.width=4", "backbone.frozen=false"],
    "Swin": ["backbone.embed=12", "backbone.depths=[1,2,1,1]", "backbone.heads=[3,3,6,6]", "backbone.window=4"],
    "Vit": ["backbone.embed=24", "backbone.depth=4", "backbone.heads=3"],
    "DeepLabV1": ["decoder.channels=16"],
    "DeepLabV2": [],
    "DeepLabV3Plus": ["decoder.channels=16", "decoder.low_level_channels=8"],
    "Mask2Former": [
        *("decoder.channels=32", "decoder.heads=4", "decoder.queries=6", "decoder.encoder_layers=1"),
        *("decoder.decoder_layers=1", "decoder.encoder_width=32", "decoder.decoder_width=32"),
        "decoder.criterion.points=64",
    ],
    "Eomt": ["decoder.queries=6", "decoder.blocks=2", "decoder.criterion.points=64"],
}


def target(group: str, option: str) -> str:
    """Class behind an option of the group."""
    return str(written(group, option)["_target_"]).rpartition(".")[2]


def words(backbone: str, decoder: str, *extra: str) -> list[str]:
    """What is typed for a small network, from random weights, of these options."""
    shrunk = [*SHRUNK[target("backbone", backbone)], *SHRUNK[target("decoder", decoder)]]
    chosen = [f"backbone={backbone}", f"decoder={decoder}", "backbone.weights=null"]
    return ["dataset=voc", *chosen, *shrunk, *extra]


def image(height: int, width: int) -> Tensor:
    return torch.randn(3, height, width, generator=torch.Generator().manual_seed(0))


def filled(name: str, number: int, tensor: Tensor) -> Tensor:
    """Values of tensor number `number` by the formula of the samples."""
    wave = np.sin(0.7 * np.arange(tensor.numel()) + number)
    if tensor.ndim > 1:
        wave *= math.sqrt(2 / tensor[0].numel())
    elif name.endswith("running_var"):
        wave = 1 + 0.1 * wave**2
    elif name.endswith("running_mean"):
        wave *= 0.02
    else:
        wave = 1 + 0.1 * wave if name.endswith("weight") else 0.05 * wave
    return torch.from_numpy(wave).to(tensor.dtype).view_as(tensor)


def released(shared: Path, name: str) -> dict[str, Tensor]:
    """A state dict of the samples: its names, order and shapes, filled by the formula."""
    shapes = json.loads((shared / GOLDEN / f"official_{name}_state_dict.json").read_text())
    state = {}
    for number, (key, shape) in enumerate(shapes.items()):
        counter = key.endswith("num_batches_tracked")
        state[key] = torch.zeros((), dtype=torch.long) if counter else filled(key, number, torch.empty(shape))
    return state


def expected(shared: Path, name: str) -> dict[str, np.ndarray]:
    """Input and outputs of the released network."""
    with np.load(shared / GOLDEN / f"official_{name}_forward.npz") as arrays:
        return dict(arrays)


def relative_error(ours: Tensor, theirs: np.ndarray) -> float:
    assert ours.shape == theirs.shape
    return float(np.abs(ours.numpy() - theirs).max() / np.abs(theirs).max())


def norms_of(module: nn.Module) -> list[nn.BatchNorm2d]:
    return [each for each in module.modules() if isinstance(each, nn.BatchNorm2d)]
