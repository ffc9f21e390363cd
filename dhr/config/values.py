"""Does a value of a YAML file fit a type, does it lie in its range, and how is that said in words."""

import difflib
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Never, Union, get_args, get_origin


class Part:
    """Marks a place where a node with `_target_` belongs."""


@dataclass(frozen=True)
class Range:
    """Allowed numbers, `low` and `high` included unless `above` leaves `low` out."""

    low: float
    high: float = math.inf
    above: bool = False

    def holds(self, number: float) -> bool:
        """False for NaN and infinities too."""
        return math.isfinite(number) and self.low <= number <= self.high and not (self.above and number == self.low)

    def __str__(self) -> str:
        if math.isinf(self.high):
            return f"a number {'>' if self.above else '>='} {self.low:g}"
        return f"a number {f'> {self.low:g} and <=' if self.above else f'from {self.low:g} to'} {self.high:g}"


UNIT = Range(0, 1)
NOT_NEGATIVE = Range(0)
POSITIVE = Range(0, above=True)
COUNT = Range(1)
RANGES = {  # by the last word of the key, wherever it stands; for lists: of every element
    **dict.fromkeys(
        ("tau", "mass_power", "flip", "jitter", "dropout", "momentum", "ema_decay", "threshold", "share"), UNIT
    ),
    **dict.fromkeys(("minimum_probability", "drop_path"), UNIT),
    **dict.fromkeys(("seed", "workers", "start_epoch", "rebalancing_start", "weight_decay", "power"), NOT_NEGATIVE),
    **dict.fromkeys(("minimum_score", "minimum_pixels", "gaussian_weight", "bilateral_weight"), NOT_NEGATIVE),
    **dict.fromkeys(
        ("backbone_lr", "head_lr", "lr", "epsilon", "gamma", "scales", "test_scales", "cam_scale"), POSITIVE
    ),
    **dict.fromkeys(("gaussian_sxy", "bilateral_sxy", "bilateral_srgb"), POSITIVE),
    **dict.fromkeys(("crop_size", "image_size", "long_side", "max_epochs", "epochs", "iterations"), COUNT),
    "batch_size": Range(2),  # batch norm of a pooled 1x1 map needs two images
    **dict.fromkeys(("embed", "depth", "depths", "heads", "window", "width"), COUNT),
    **dict.fromkeys(("queries", "points", "oversample", "encoder_layers", "decoder_layers"), COUNT),
    **dict.fromkeys(("encoder_width", "decoder_width"), COUNT),
    **dict.fromkeys(("no_object", "importance"), UNIT),
    **dict.fromkeys(("class_weight", "mask_weight", "dice_weight"), NOT_NEGATIVE),
    **dict.fromkeys(("temperature", "clip"), POSITIVE),
    "ratios": Range(0, 1, above=True),
    **dict.fromkeys(("resolution", "codes", "projection", "neighbours"), COUNT),
    **dict.fromkeys(("derangements", "clusters", "halving", "steps"), COUNT),
    **dict.fromkeys(("bank", "weight"), NOT_NEGATIVE),
    **dict.fromkeys(("channels", "low_level_channels", "widths", "train", "validation", "stride"), COUNT),
}
NAME = re.compile(r"[A-Za-z0-9._-]+")
NAMES = frozenset({"name", "folder", "classes", "split"})  # keys whose values become file or folder names


def range_problem(key: str, value: object) -> str | None:
    """What is wrong with a number or name under `key`, and what is allowed; None if nothing is."""
    if key in NAMES and isinstance(value, str) and (not NAME.fullmatch(value) or set(value) == {"."}):
        return "not a name; allowed are letters, digits and . _ -"
    allowed = RANGES.get(key)
    numbers: list[Any] = [each for each in (value if isinstance(value, list) else [value]) if _is_number(each)]
    if allowed is None or all(map(allowed.holds, numbers)):
        return None
    return f"out of range; allowed is {allowed}"


def fits(value: object, kind: Any) -> bool:
    """True if a value of a YAML file is of a type: a simple one, None, Any, Part, a dataclass, or made of these.

    A whole number is also a float; true and false are no numbers; a list stands for every sequence.
    """
    if kind in _SIMPLE:
        return _SIMPLE[kind](value)
    if is_dataclass(kind):
        return isinstance(value, dict)
    return _COMPOSED[get_origin(kind)](value, get_args(kind))


def describe(kind: Any) -> str:
    """A type in words, for messages."""
    if kind in _WORDS:
        return _WORDS[kind]
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return "one of " + ", ".join(str(value) for value in inner)
    if origin in (Union, UnionType):
        return " or ".join(describe(each) for each in inner if each is not Never)
    if origin is tuple and inner[-1] is not Ellipsis:
        return f"a list of {len(inner)}: [{', '.join(describe(each) for each in inner)}]"
    if origin in (tuple, list):
        return f"a list, each {describe(inner[0])}"
    return "a group of keys"


def nearest(word: str, known: Iterable[str]) -> str:
    """The question "did you mean ...? " for a likely misspelling, else nothing."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {close[0]}? " if close else ""


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _fits_tuple(value: object, inner: tuple[Any, ...]) -> bool:
    if not isinstance(value, list):
        return False
    if inner[-1] is Ellipsis:
        return all(fits(each, inner[0]) for each in value)
    return len(value) == len(inner) and all(map(fits, value, inner))


_SIMPLE: dict[Any, Callable[[object], bool]] = {
    Any: lambda value: True,
    Never: lambda value: False,
    None: lambda value: value is None,
    NoneType: lambda value: value is None,
    bool: lambda value: isinstance(value, bool),
    int: lambda value: isinstance(value, int) and not isinstance(value, bool),
    float: _is_number,
    str: lambda value: isinstance(value, str),
    Part: lambda value: isinstance(value, dict) and "_target_" in value,
}
_COMPOSED: dict[Any, Callable[[object, tuple[Any, ...]], bool]] = {
    Union: lambda value, inner: any(fits(value, each) for each in inner),
    UnionType: lambda value, inner: any(fits(value, each) for each in inner),
    Literal: lambda value, inner: any(value == each and type(value) is type(each) for each in inner),
    list: lambda value, inner: isinstance(value, list) and all(fits(each, inner[0]) for each in value),
    tuple: _fits_tuple,
    dict: lambda value, inner: isinstance(value, dict) and all(fits(each, inner[1]) for each in value.values()),
}
_WORDS = {
    Any: "any value",
    Never: "nothing that a file can hold",
    None: "null",
    NoneType: "null",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Part: "a node with _target_",
}
