"""Ways through a configuration of groups, lists and plain values; places are keys with dots."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any


def leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every plain value with its place; an empty list or group is a value, too."""
    inner = [*_inner(value, place)]
    for below, element in inner:
        yield from leaves(element, below)
    if not inner:
        yield place, value


def nodes(value: Any, place: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every node with `_target_` with its place, wherever it stands: whatever has a `_target_` could be called."""
    if isinstance(value, Mapping) and "_target_" in value:
        yield place, value
    for below, element in _inner(value, place):
        yield from nodes(element, below)


def changed(value: Any, change: Callable[[str, Any], Any], place: str = "") -> Any:
    """The same with `change(place, value)` for every plain value."""
    inner = [changed(element, change, below) for below, element in _inner(value, place)]
    if isinstance(value, Mapping):
        return dict(zip(value, inner, strict=True))
    return inner if isinstance(value, list) else change(place, value)


def _inner(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, element in items:
        yield f"{place}.{key}" if place else str(key), element
