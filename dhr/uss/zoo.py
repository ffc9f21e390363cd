"""Networks of timm for frozen tokens, and the files of their weights."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
from torch import nn

from dhr.backbone.pretrained import published_file
from dhr.core.errors import InputError
from dhr.disk.weights.state import read_checkpoint, read_weights

PLACE = "uss.tokens"


def refuse_no_weights(weights: str | None, sha256: str | None) -> None:
    """Refuses tokens without weights, and a digest without a file of weights.

    Raises:
        InputError: `weights` is None, or `sha256` is set and `weights` is not a file.
    """
    if weights is None:
        raise InputError(f"{PLACE}.weights: null: features of an untrained network are noise; use pretrained or a file")
    if sha256 is not None and weights in ("pretrained", "random"):
        raise InputError(f"{PLACE}.sha256: {sha256}: belongs to a file; set {PLACE}.weights=<file> too")


def create(name: str, *, pretrained: bool, what: str, **settings: Any) -> nn.Module:
    """A network without classifier.

    Args:
        name: timm's: the architecture and, after a dot, which weights.
        pretrained: whether timm shall fetch these.
        what: kind of network that is due, for messages.
        **settings: further ones of timm's constructor.

    Raises:
        InputError: timm knows no such network or weights, they cannot be fetched, or the network does not know a
            setting.
    """
    if not timm.is_model(name.partition(".")[0]):
        raise InputError(f"{PLACE}.name: {name}: timm has no such model; write {PLACE}.name=vit_small_patch8_224.dino")
    try:
        return timm.create_model(name, pretrained=pretrained, num_classes=0, **settings)
    except (OSError, RuntimeError, TypeError) as error:
        if not pretrained or isinstance(error, TypeError) or "Invalid pretrained tag" in str(error):
            raise InputError(f"{PLACE}.name: {name}: no {what} of timm ({error})") from error
        raise InputError(
            f"{PLACE}.weights: pretrained: the weights of {name} could not be fetched ({type(error).__name__}); "
            f"connect to the network once, or bring {published_file(name)} and set {PLACE}.weights=<file>"
        ) from error


def read_file(path: Path, sha256: str | None) -> Mapping[str, Any]:
    """The content of a file of weights.

    Raises:
        InputError: missing, not whole, or another than the digest says; None takes any.
    """
    if not path.is_file():
        raise InputError(f"{PLACE}.weights: {path}: no such file; allowed are pretrained or a file of weights")
    if sha256 is not None:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != sha256.lower():
            raise InputError(f"{path}: sha256 is {digest}, {PLACE}.sha256 says {sha256}; download the file again")
    return read_weights(path) if path.suffix == ".safetensors" else read_checkpoint(path)
