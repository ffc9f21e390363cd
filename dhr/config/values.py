"""Does a value of a YAML file fit a type, is it a sound text, and how is that said in words."""

import re
from collections.abc import Callable
from dataclasses import is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Never, Union, get_args, get_origin

from dhr.config.provenance import LETTERS, SAW


class Part:
    """Marks a place where a node with `_target_` belongs."""


NAME = re.compile(r"[A-Za-z0-9._-]+")
NAMES = frozenset({"name", "folder", "classes", "split"})  # keys whose values become file or folder names
UNWRITABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")  # control characters, and what is no character of UTF-8


def text_problem(key: str, value: object) -> str | None:
    """What is wrong with a text under `key`, and what is allowed; None if nothing is."""
    if not isinstance(value, str):
        return None
    if key in NAMES and (not NAME.fullmatch(value) or set(value) == {"."}):
        return "not a name; allowed are letters, digits and . _ -"
    if key == SAW and (not value or set(value) - {*LETTERS}):
        known = ", ".join(f"{letter} ({meaning})" for letter, meaning in LETTERS.items())
        return f"not letters of what weights saw; allowed are {known}, several in one word, and null"
    if not value:
        return "empty; give a value, or leave it out"
    found = UNWRITABLE.search(value)
    return f"has the character {found[0]!a}, which no file can keep; rename it" if found else None


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
