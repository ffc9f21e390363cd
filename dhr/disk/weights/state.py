"""Weights on disk: read without running any code they might hold, loaded only where every name and shape fits."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from dhr.core.errors import InputError
from dhr.disk.weights.mismatch import likely_causes

STATE: dict[str, type | UnionType] = {  # what Lightning keeps of a training
    "state_dict": Mapping,
    "loops": Mapping,
    "callbacks": Mapping,
    "optimizer_states": list,
    "lr_schedulers": list,
    "epoch": int,
    "global_step": int,
}
SHOWN = 6  # names of each kind in a message


def read_checkpoint(path: Path) -> Mapping[str, Any]:
    """Reads a checkpoint without running any code that it might hold.

    Raises:
        InputError: missing, or not a checkpoint of plain tensors and values: none of them is sparse, quantised,
            complex, nested or without numbers ("meta").
    """
    if not path.exists():
        raise InputError(f"{path}: no such checkpoint; did the training finish? resume=true continues it")
    if not path.is_file():
        raise InputError(f"{path}: not a file; move it away, and fetch or make the checkpoint again")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch lets through whatever its unpickler raises
        with path.open("rb") as file:
            is_web_page = file.read(64).lstrip()[:1] == b"<"
        problem = "a web page" if is_web_page else f"it cannot be read safely ({type(error).__name__})"
        raise InputError(f"{path}: not a checkpoint: {problem}; fetch or make it again") from error
    if not isinstance(content, Mapping):
        raise InputError(f"{path}: holds a {type(content).__name__}, not a checkpoint; fetch or make it again")
    for name, value in _tensors_in(content):
        if (kind := _strangeness(value)) is not None:
            raise InputError(f"{path}: {name}: a {kind} tensor; save model.state_dict() of plain tensors instead")
    return content


def _tensors_in(content: object) -> Iterator[tuple[str, Tensor]]:
    """Every tensor at any depth with its dotted name; every container is visited once, even if it contains itself."""
    waiting, seen = [("", content)], set[int]()
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, Tensor):
            yield name, value
        elif isinstance(value, Mapping | list | tuple) and id(value) not in seen:
            seen.add(id(value))
            pairs = value.items() if isinstance(value, Mapping) else enumerate(value)
            waiting += [(f"{name}.{key}".lstrip("."), member) for key, member in pairs]


def _strangeness(value: Tensor) -> str | None:
    """What makes a tensor unfit for a network; None for a plain one."""
    if value.is_nested or value.layout is not torch.strided:
        return "sparse or nested"
    if value.is_meta:
        return "meta"
    return "quantised" if value.is_quantized else "complex" if value.is_complex() else None


def read_weights(path: Path) -> dict[str, Tensor]:
    """Reads a plain state dict: a safetensors file, or one that torch wrote.

    Raises:
        InputError: missing, not whole, or something else than named tensors.
    """
    if path.suffix != ".safetensors":
        return only_tensors(read_checkpoint(path), path)
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: no whole weights ({error}); make them anew") from None


def only_tensors(content: object, path: Path) -> dict[str, Tensor]:
    """A part of a file that has to be a state dict.

    Raises:
        InputError: it is something else than named tensors.
    """
    if not isinstance(content, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    ):
        raise InputError(f"{path}: not a plain state dict of tensors; save model.state_dict() instead")
    return dict(content)


def load_strictly(network: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Loads weights whose names and shapes must all fit.

    Only the batch norms' counters of batches, which nothing reads, may be missing: converted files have none.

    Raises:
        InputError: lists the missing, unexpected and misshapen names, with the likely cause; or those of weights that
            are whole numbers where fractions are due, NaN or infinite.
    """
    own = network.state_dict()
    counters = {name: value for name, value in own.items() if name.endswith(".num_batches_tracked")}
    weights = {**counters, **weights}
    missing, unexpected = sorted(own.keys() - weights.keys()), sorted(weights.keys() - own.keys())
    misshapen = sorted(
        f"{name} {tuple(weights[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own.keys() & weights.keys()
        if own[name].shape != weights[name].shape
    )
    if missing or unexpected or misshapen:
        lists = {"missing": missing, "unexpected": unexpected, "misshapen": misshapen}
        report = "; ".join(_listed(what, names) for what, names in lists.items() if names)
        cause = likely_causes(own, {name: value for name, value in weights.items() if name not in counters})
        raise InputError(f"{path}: does not fit this network: {report}; likely cause: {cause}")
    whole = sorted(name for name in own if own[name].is_floating_point() and not weights[name].is_floating_point())
    if whole:
        raise InputError(f"{path}: {_listed('weights are whole numbers', whole)}; save them as floating-point numbers")
    network.load_state_dict(weights, strict=True)
    loaded = network.state_dict()
    not_finite = sorted(name for name, value in loaded.items() if not bool(torch.isfinite(value).all()))
    if not_finite:
        cure = "train anew, or take the weights of an earlier epoch"
        raise InputError(f"{path}: {_listed('weights are NaN or infinite', not_finite)}; {cure}")


def refuse_unfit_checkpoint(content: Mapping[str, Any], module: nn.Module, path: Path) -> None:
    """Makes sure that a training can go on from a checkpoint, before Lightning stumbles over it.

    Raises:
        InputError: something that Lightning keeps is missing, or its weights are not those of the module.
    """
    cure = "restore it, or train under another name"
    for key, kind in STATE.items():
        if not isinstance(content.get(key), kind):
            raise InputError(f"{path}: {key}: not the state of a training; {cure}")
    own, kept = module.state_dict(), only_tensors(content["state_dict"], path)
    wrong = own.keys() ^ kept.keys() | {
        name for name in own.keys() & kept.keys() if own[name].shape != kept[name].shape
    }
    if wrong:
        raise InputError(f"{path}: {_listed('weights do not fit this network', sorted(wrong))}; {cure}")


def _listed(what: str, names: list[str]) -> str:
    more = "" if len(names) <= SHOWN else f" and {len(names) - SHOWN} more"
    return f"{len(names)} {what}: {', '.join(names[:SHOWN])}{more}"
