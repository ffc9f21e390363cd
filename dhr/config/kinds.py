"""Types of configuration values: what each allows, in words, and how pydantic is to read them."""

from collections.abc import Iterator, Sequence
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, MinLen, MultipleOf
from pydantic import BaseModel, ConfigDict

from dhr.core.ranges import NAMED, Rule


class Section(BaseModel):
    """A group of keys: no others, no value of another type but whole numbers for numbers, none that is not finite."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=())


def has_target(node: dict[str, Any]) -> bool:
    """True for a node that describes an object."""
    return "_target_" in node


Part = Annotated[dict[str, Any], Rule(has_target, " with _target_")]
_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    dict: "a group of keys",
    NoneType: "null",
}


@cache
def keys_of(section: type[Section]) -> dict[str, Any]:
    """The type of every key, with its range."""
    return {key: _ranged(field.annotation, field.metadata) for key, field in section.model_fields.items()}


def section_of(kind: Any) -> type[Section] | None:
    """The section that a type is or allows."""
    classes = [one for one in alternatives(kind) if isinstance(one, type)]
    return next((one for one in classes if issubclass(one, Section)), None)


def alternatives(kind: Any) -> Iterator[Any]:
    """The types that a type allows one of, without their ranges."""
    origin = get_origin(kind)
    inner = get_args(kind) if origin in (Union, UnionType) else get_args(kind)[:1] if origin is Annotated else ()
    if not inner:
        yield kind
    for one in inner:
        yield from alternatives(one)


def takes_part(kind: Any) -> bool:
    """Whether a node with `_target_` may stand where a value of this type is due."""
    return kind == Part or any(map(takes_part, get_args(kind)))


def is_text(kind: Any) -> bool:
    """True for text, and for text or null."""
    return {str} <= {*alternatives(kind)} <= {str, NoneType}


def is_name(kind: Any) -> bool:
    """True for a text that has to be a name, and for that or null."""
    return NAMED in get_args(kind) or any(map(is_name, get_args(kind)))


def is_words(kind: Any) -> bool:
    """True for a choice of words, which are typed like any text where another part takes every text there."""
    return get_origin(kind) is Literal and all(isinstance(word, str) for word in get_args(kind))


def is_texts(kind: Any) -> bool:
    """True for a list of texts, and for that or a switch or null."""
    return {tuple[str, ...]} <= {*alternatives(kind)} <= {tuple[str, ...], bool, NoneType}


def describe(kind: Any) -> str:
    """What a type allows, for messages."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _limited(describe(inner[0]), inner[1:])
    if origin is Literal:
        return ("one of " if len(inner) > 1 else "") + ", ".join(map(str, inner))
    if origin in (Union, UnionType):
        return ", or ".join(map(describe, inner))
    if origin is tuple:
        size = "" if inner[-1] is Ellipsis else f" of {len(inner)}"
        return f"a list{size}, each {describe(inner[0])}"
    if origin is dict and inner[1] is not Any:
        return f"a group of keys, each {describe(inner[1])}"
    return _WORDS.get(origin or kind, "a group of keys")


def _ranged(kind: Any, limits: Sequence[Any]) -> Any:
    return Annotated[kind, *limits] if limits else kind


def _limited(words: str, limits: tuple[Any, ...]) -> str:
    of_kind = {type(limit): limit for limit in limits}
    if MultipleOf in of_kind:
        words = words.replace("a whole", "an even")
    if Le in of_kind:
        low, high = of_kind.get(Ge) or of_kind[Gt], of_kind[Le].le
        words += f" from {low.ge} to {high}" if isinstance(low, Ge) else f" > {low.gt} and <= {high}"
    if MinLen in of_kind:
        words = words.replace("a list", "a list of at least one", 1)
    return words + "".join(limit.words for limit in limits if isinstance(limit, Rule))
