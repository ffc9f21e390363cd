"""Weights on disk: read without running any code they might hold, loaded only where every name and shape fits."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from dhr.errors import InputError


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
    """Reads a plain state dict: a safetensors file, or one that torch wrote.

    Raises:
        InputError: missing, not whole, or something else than named tensors.
    """
    if path.suffix != ".safetensors":
        weights = dict(read_checkpoint(path))
        if not all(isinstance(value, Tensor) for value in weights.values()):
            raise InputError(f"{path}: not a plain state dict of tensors; save model.state_dict() instead")
        return weights
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: no whole weights ({error}); make them anew") from None


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
