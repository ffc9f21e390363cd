"""Check 1: every key, type, range and target of a configuration, before torch or Lightning is imported."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from dhr.config.groups import GROUPS, Group, classes_of
from dhr.config.kinds import Section, describe, keys_of, section_of
from dhr.config.outside import outside_parts
from dhr.config.signatures import defines, section_of_part, unreadable
from dhr.config.walk import leaves, nodes
from dhr.core.errors import InputError
from dhr.core.words import nearest

UNWRITABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")  # control characters, and what is no character of UTF-8
OUTSIDE = ("greater_than", "greater_than_equal", "less_than_equal", "multiple_of", "finite_number")  # pydantic's words


def check(values: Mapping[str, Any], section: type[Section]) -> dict[str, Any]:
    """Checks a whole configuration, resolved, against the section of its command.

    Returns:
        The values, with the defaults of the keys that they leave out.

    Raises:
        InputError: an unknown or missing key, a wrong type, a number out of range, or a target that is not one of ours.
    """
    for place, value in leaves(values):
        if isinstance(value, str) and (found := UNWRITABLE.search(value)):
            problem = f"has the character {found[0]!a}, which no file can keep; rename it"
            raise InputError(f"{place}: {shown(value)}: {problem}")
    _check_keys(values, section, "")
    filled = _with_defaults(values, section)
    for place, node in nodes(filled):
        _check_part(node, place)
    for place, value in leaves(filled):
        if value == "" and not place.rpartition(".")[2].isdigit():  # in lists, rules over several keys say more
            raise InputError(f"{place}: : empty; give a value, or leave it out")
    return filled


def _with_defaults(values: Mapping[str, Any], section: type[Section]) -> dict[str, Any]:
    """A section in its own order with the defaults of the keys that it leaves out, and so in every section inside."""
    filled = {}
    for key, kind in keys_of(section).items():
        value = values[key] if key in values else section.model_fields[key].get_default()
        inner = section_of(kind)
        filled[key] = _with_defaults(value, inner) if inner and isinstance(value, Mapping) else value
    return filled


def unknown_key(place: str, key: str, value: Any, known: Iterable[str]) -> InputError:
    """The error for a key that nothing reads; hidden keys (choices) are not offered."""
    names = sorted(name for name in known if name != "choices")
    cure = f"{nearest(key, names)}known here: {', '.join(names)}" if names else "nothing can be set here"
    return InputError(f"{place}{key}: {shown(value)}: unknown key; {cure}")


def shown(value: Any) -> str:
    """A value as it would be typed, cut where it is long."""
    words = {None: "null", True: "true", False: "false"}
    text = words[value] if value is None or isinstance(value, bool) else str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _check_keys(values: Mapping[str, Any], section: type[Section], place: str) -> None:
    """Checks the keys of one section, but not what parts have inside; `place` is empty or ends with a dot."""
    try:
        section.model_validate(_tuples(values))
    except ValidationError as error:
        # A misspelt key is missing too; its own error says what it should be called.
        first = min(error.errors(include_url=False), key=lambda problem: problem["type"] != "extra_forbidden")
        raise _complaint(first, values, section, place) from None


def _complaint(error: ErrorDetails, values: Mapping[str, Any], section: type[Section], place: str) -> InputError:
    """What is wrong where pydantic says so; it may point into lists and alternatives, which are told as one."""
    kind: Any = section
    value: Any = values
    for key in error["loc"]:
        inner = section_of(kind)
        if inner is None or not isinstance(value, Mapping):
            break
        if key not in keys_of(inner):
            return unknown_key(place, str(key), value.get(key), keys_of(inner))
        if key not in value:
            return InputError(f"{place}{key}: missing; set it with {place}{key}=<value>")
        kind, value, place = keys_of(inner)[str(key)], value[key], f"{place}{key}."
    problem = "out of range" if error["type"] in OUTSIDE else "does not fit here"
    return InputError(f"{place[:-1]}: {shown(value)}: {problem}; allowed is {describe(kind)}")


def _tuples(value: Any) -> Any:
    """A value with tuples for its lists: types name tuples, which is what parts are given."""
    if isinstance(value, list):
        return tuple(map(_tuples, value))
    return {key: _tuples(inner) for key, inner in value.items()} if isinstance(value, Mapping) else value


def _check_part(node: Mapping[str, Any], place: str) -> None:
    group, target = place.partition(".")[0], node["_target_"]
    allowed = classes_of(group)
    _check_outside(target, f"{place}._target_")
    if not isinstance(target, str) or target not in allowed or not defines(target):
        names = ", ".join(sorted(allowed)) or "none"
        raise InputError(f"{place}._target_: {shown(target)}: not a part of this group; allowed: {names}")
    supplied = GROUPS.get(group, Group()).supplied
    given = {key: value for key, value in node.items() if key != "_target_"}
    section = section_of_part(target, supplied)
    for key in given.keys() & supplied - section.model_fields.keys():
        raise InputError(f"{place}.{key}: {shown(given[key])}: is set by the program; leave it out")
    _check_keys(given, section, f"{place}.")


def _check_outside(target: Any, place: str) -> None:
    """A class that another package declares has to be sound before its signature is read."""
    for part in outside_parts():
        if part.target == target:
            problem = part.problem or unreadable(part.target)
            if problem is not None:
                where = f"refused, from the entry point {part.declared} of {part.package}"
                raise InputError(f"{place}: {target}: {where}: {problem}")
