"""Weights of a whole network under our names, whoever wrote them, and where the cells of its logits lie."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from dhr.core.cells import Cells, CentredCells, CornerCells
from dhr.core.errors import InputError
from dhr.disk.weights.state import load_strictly, only_tensors, read_checkpoint, read_weights
from dhr.network.released_names import are_released, from_released
from dhr.network.segmentation import SegmentationNetwork

CELLS: dict[str, Cells] = {"centred": CentredCells(), "corners": CornerCells()}  # as our exports call them


@dataclass(frozen=True)
class NetworkFile:
    """Weights of a whole network, by their names in ours, and where the cells of its logits lie."""

    weights: dict[str, Tensor]
    cells: Cells


def read_network(path: Path) -> NetworkFile:
    """Reads a whole network, whoever wrote it.

    Read are a checkpoint of a training (its averaged weights), our export, and the plain state dict of a released
    network; the names, which may begin with `module.`, tell which it is. Cells lie where our export says; else those
    of released names on the corners, as in the released code, and all others at their centres.

    Raises:
        InputError: missing, not whole, or without named tensors.
    """
    stated: str | None = None
    if path.suffix == ".safetensors":
        state = read_weights(path)
        with safe_open(path, "pt") as file:
            stated = (file.metadata() or {}).get("cells")
        if stated is not None and stated not in CELLS:
            allowed = ", ".join(CELLS)
            raise InputError(f"{path}: cells: {stated}: unknown; allowed are {allowed}; export the weights anew")
    else:
        content = read_checkpoint(path)
        state = only_tensors(content.get("state_dict", content) or None, path)
    if state and all(name.startswith("module.") for name in state):
        state = _inside(state, "module.")
    state = _inside(state, "network.") or state  # the rest of a training's module is no part of the network
    released = are_released(state)
    cells = CELLS[stated or ("corners" if released else "centred")]
    return NetworkFile(from_released(state) if released else state, cells)


def network_weights(path: Path) -> dict[str, Tensor]:
    """The weights of `read_network`."""
    return read_network(path).weights


def load_network(network: SegmentationNetwork, path: Path) -> None:
    """Loads what `read_network` reads into a network, whose names and shapes have to be the same.

    Raises:
        InputError: as for `read_network`, or names or shapes differ.
    """
    file = read_network(path)
    load_strictly(network, file.weights, path)
    network.cells = file.cells


def _inside(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
