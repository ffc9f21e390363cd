"""Names of the parameters in the officially released networks, and ours for them."""

from collections.abc import Iterable, Mapping

from torch import Tensor

from dhr.core.errors import InputError

_BLOCKS = {  # convolution, batch norm, ReLU
    **{f"seg_decoder.aspp.aspp{n + 1}": f"decoder.pyramid.branches.{n}" for n in range(4)},
    "seg_decoder.aspp.gap.1": "decoder.pyramid.pooled.1",
    "seg_decoder.aspp.block": "decoder.pyramid.project.0",
    "seg_decoder.low_block": "decoder.low_level",
    "seg_decoder.mid_block.0": "decoder.refine.0",
    "seg_decoder.mid_block.1": "decoder.refine.2",
}
OURS = {  # first part of a released name -> first part of ours; no two decoders share one with another meaning
    "model": "backbone.layers",
    "classifier": "classifier.projection",
    "seg_decoder.classifier": "decoder.classifier",
    **{f"{theirs}.conv": f"{ours}.0" for theirs, ours in _BLOCKS.items()},
    **{f"{theirs}.bn": f"{ours}.1" for theirs, ours in _BLOCKS.items()},
    **{f"seg_decoder.{part}": f"decoder.field.{n}" for n, part in enumerate(("conv1", "bn1", "conv2", "bn2"))},
    **{f"seg_decoder.aspp{n + 1}": f"decoder.branches.{n}" for n in range(4)},
}
RELEASED = {ours: theirs for theirs, ours in OURS.items()}


def are_released(names: Iterable[str]) -> bool:
    """True if these are the names of a released network."""
    return any(name.startswith(("model.", "seg_decoder.")) for name in names)


def from_released(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under our names; a name that we do not know keeps its own."""
    return {_renamed(name, OURS) or name: value for name, value in weights.items()}


def to_released(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under the released names.

    Raises:
        InputError: a part that no released network has.
    """
    names = {name: _renamed(name, RELEASED) for name in weights}
    unknown = [name for name, released in names.items() if released is None]
    if unknown:
        raise InputError(f"{unknown[0]}: no released network has such a part; export it under our names")
    return {str(names[name]): value for name, value in weights.items()}


def _renamed(name: str, table: Mapping[str, str]) -> str | None:
    first = max((part for part in table if name.startswith(f"{part}.")), key=len, default=None)
    return None if first is None else table[first] + name.removeprefix(first)
