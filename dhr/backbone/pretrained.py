"""Where a backbone starts from: timm's architectures with their published weights, or a file of weights."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import timm
from torch import Tensor, nn

from dhr.core.errors import InputError
from dhr.disk.weights.pixel_labels import parse_start, refuse_pixel_labels
from dhr.disk.weights.state import load_strictly, read_weights

HEADS = ("fc.", "head.", "linear1000.")  # the last layer of an ImageNet classifier, which we do not have


def create(name: str, *, weights: str | None, published: str = "imagenet", **options: Any) -> Any:
    """An architecture of timm, with timm's weights of its name where `weights` is the word `published`.

    Raises:
        InputError: they cannot be fetched, or have other shapes.
    """
    try:
        return timm.create_model(name, pretrained=weights == published, **options)
    except (OSError, RuntimeError) as error:
        if weights != published:
            raise
        raise InputError(
            f"backbone.weights={published}: the weights of {name} could not be fetched, or do not fit these widths "
            f"({type(error).__name__}); connect to the network once, or bring {published_file(name)} and set "
            "backbone.weights=<file>"
        ) from error


def published_file(name: str) -> str:
    """Where the weights of a network of timm lie, in words for messages."""
    known = timm.get_pretrained_cfg(name)
    if known is None:
        return "a state dict of its own names"
    return str(known.url) if known.url else f"the file at https://huggingface.co/{known.hf_hub_id}"


def load_file(
    layers: nn.Module,
    weights: str,
    *,
    body: str = "",
    spare: Collection[str] = (),
    renamed: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]] = dict,
) -> None:
    """Loads a file of weights under the names of `layers`, or of an ImageNet classifier.

    Args:
        layers: all of the backbone.
        weights: name of the file; one that saw pixel labels is refused unless they are admitted, see `supervision`.
        body: name, in `layers`, of the part that an ImageNet classifier shares with us; what is beside it then keeps
            its first values.
        spare: names that the file may hold for nothing.
        renamed: brings weights of other names and sizes under ours.

    Raises:
        InputError: missing, unreadable, or of other names or shapes.
    """
    path, admitted = parse_start(weights)
    if not path.is_file():
        raise InputError(
            f"backbone.weights={path}: no such file; allowed are null, a file, and imagenet where timm has it"
        )
    content = read_weights(path)
    tensors = {name: value for name, value in content.items() if not name.startswith(HEADS) and name not in spare}
    if not admitted:
        refuse_pixel_labels(path, tensors)
    tensors = dict(renamed(tensors))
    whole = not body or any(name.startswith(f"{body}.") for name in tensors)
    part = layers if whole else layers.get_submodule(body)
    # The last norm of a transformer is for its classifier where we do not keep it.
    own = part.state_dict()
    load_strictly(part, {n: value for n, value in tensors.items() if n in own or not n.startswith("norm.")}, path)


def refuse_uneven(whole: int, parts: int, *, place: str) -> None:
    """Raises an InputError where `whole` cannot be divided into `parts`."""
    if whole % parts:
        raise InputError(f"{place}: {whole} cannot be divided by {parts}; use {parts * (whole // parts + 1)}")
