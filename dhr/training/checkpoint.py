"""Checkpoints that are whole or not there, and their weights."""

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from dhr.artifacts import write_atomically
from dhr.errors import InputError


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoint files, written beside the target and renamed: a kill leaves the old one or the new one."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Writes the checkpoint atomically."""
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        write_atomically(Path(path), buffer.getvalue())


def read_checkpoint(path: Path) -> Mapping[str, Any]:
    """Reads a checkpoint without running any code that it might hold.

    Raises:
        InputError: missing, or not a checkpoint of plain tensors and values.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path}: no such checkpoint; did the training finish? resume=true continues it") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError) as error:
        raise InputError(f"{path}: not a checkpoint that can be read safely ({type(error).__name__})") from None
    if not isinstance(content, Mapping):
        raise InputError(f"{path}: holds a {type(content).__name__}, not a checkpoint")
    return content


def read_weights(path: Path) -> dict[str, Tensor]:
    """Reads a safetensors file.

    Raises:
        InputError: it is not one, or not a whole one.
    """
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not whole weights ({error}); overwrite=true makes them anew") from None


def network_weights(path: Path) -> dict[str, Tensor]:
    """The network's averaged weights in a training checkpoint, by their names in the network."""
    state = read_checkpoint(path).get("state_dict", {})
    prefix = "network."
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def load_strictly(network: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Loads weights whose names and shapes must all fit.

    Raises:
        InputError: lists the missing, unexpected and misshapen names.
    """
    own = network.state_dict()
    missing, unexpected = sorted(own.keys() - weights.keys()), sorted(weights.keys() - own.keys())
    misshapen = sorted(
        f"{name} {tuple(weights[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own.keys() & weights.keys()
        if own[name].shape != weights[name].shape
    )
    if missing or unexpected or misshapen:
        lists = {"missing": missing, "unexpected": unexpected, "misshapen": misshapen}
        report = "; ".join(f"{len(names)} {what}: {', '.join(names[:4])}" for what, names in lists.items() if names)
        raise InputError(f"{path}: does not fit this network: {report}; other classes, backbone, decoder or stride?")
    network.load_state_dict(dict(weights), strict=True)
