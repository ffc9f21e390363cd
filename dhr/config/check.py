"""Check 1: every key, type, range and target of a configuration, before torch or Lightning is imported."""

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_args, get_type_hints

from dhr.config.ranges import range_problem
from dhr.config.source import defines, keys_of
from dhr.config.tree import named_targets
from dhr.config.values import Part, describe, fits, text_problem
from dhr.core.errors import InputError
from dhr.core.words import nearest

HOMES = {  # where the classes of a group live, and whose classes may stand inside its nodes
    "dataset": ("dhr.dataset.original.", ()),
    "backbone": ("dhr.backbone.", ()),
    "decoder": ("dhr.decoder.", ()),
    "classifier": ("dhr.classifier.", ()),
    "wss": ("dhr.wss.", ("cam", "backbone", "optimizer")),
    "cam": ("dhr.wss.", ("backbone", "optimizer")),
    "uss": ("dhr.uss.", ("cause", "stego")),
    "cause": ("dhr.uss.", ()),
    "stego": ("dhr.uss.", ()),
    "rebalancing": ("dhr.rebalancing.", ()),
    "label_maker": ("dhr.training.", ()),
    "refresh": ("dhr.training.", ()),
    "features": ("dhr.training.", ()),
    "crf": ("dhr.crf.", ()),
    "optimizer": ("dhr.training.", ()),
    "trainer": ("pytorch_lightning.Trainer", ()),
}
SUPPLIED = {  # arguments that the program gives when it builds a node of the group
    "decoder": frozenset({"backbone_channels", "output_stride", "num_classes"}),
    "classifier": frozenset({"in_channels", "num_tags"}),
    "rebalancing": frozenset({"first_tag", "crf"}),
    "trainer": frozenset({"logger", "callbacks", "default_root_dir", "plugins"}),
}


def check(values: Mapping[str, Any], schema: type) -> None:
    """Checks a whole configuration, resolved, against the dataclass of its command.

    Raises:
        InputError: an unknown or missing key, a wrong type, a number out of range, or a target that is not one of ours.
    """
    checksection_of(values, schema, "")


def checksection_of(values: Mapping[str, Any], schema: Any, place: str) -> None:
    """Checks the keys of one dataclass and everything below; `place` is empty or ends with a dot."""
    kinds = get_type_hints(schema)
    for key in values:
        if key not in kinds:
            raise unknown_key(place, key, values[key], kinds)
    for key, kind in kinds.items():
        if key in values:
            check_value(values[key], kind, f"{place}{key}")
    needed = [each.name for each in fields(schema) if each.default is MISSING and each.default_factory is MISSING]
    _refuse_missing(needed, values, place)


def check_value(value: Any, kind: Any, place: str) -> None:
    """Checks one value, with all that is inside it."""
    if not fits(value, kind):
        raise InputError(f"{place}: {shown(value)}: does not fit here; allowed is {describe(kind)}")
    key = place.rpartition(".")[2]
    _refuse(place, value, text_problem(key, value) or range_problem(key, value))
    section = section_of(kind)
    if section is not None and isinstance(value, Mapping):
        checksection_of(value, section, f"{place}.")
    else:
        _check_inside(value, place, takes_part(kind))


def with_defaults(values: Mapping[str, Any], schema: Any) -> dict[str, Any]:
    """A checked section with the defaults of the keys that it leaves out, and so in every section inside it."""
    kinds = get_type_hints(schema)
    filled = {each.name: each.default for each in fields(schema) if each.default is not MISSING}
    for key, value in values.items():
        section = section_of(kinds[key])
        filled[key] = with_defaults(value, section) if section and isinstance(value, Mapping) else value
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


def section_of(kind: Any) -> Any:
    """The dataclass that a type is or allows, or None."""
    return next((each for each in (kind, *get_args(kind)) if is_dataclass(each)), None)


def takes_part(kind: Any) -> bool:
    """Whether a node with `_target_` may stand where a value of this type is due, or inside it."""
    return kind in (Part, Any) or any(takes_part(each) for each in get_args(kind))


def _check_inside(value: Any, place: str, takes_part: bool) -> None:
    """Finds the nodes inside lists and mappings too: whatever has a `_target_` would be called."""
    if isinstance(value, list):
        for number, each in enumerate(value):
            _check_inside(each, f"{place}.{number}", takes_part)
    if not isinstance(value, Mapping):
        return
    if "_target_" in value and takes_part:
        _check_part(value, place)
        return
    for key, each in value.items():
        if str(key).startswith("_"):
            raise InputError(f"{place}.{key}: {shown(each)}: not allowed here; leave it out")
        _check_inside(each, f"{place}.{key}", takes_part)


def _check_part(node: Mapping[str, Any], place: str) -> None:
    group = place.partition(".")[0]
    target = node["_target_"]
    _check_target(target, place, group)
    known = keys_of(target)
    supplied = SUPPLIED.get(group, frozenset()) & {*known}
    for key, value in node.items():
        if key == "_target_":
            continue
        if key in supplied:
            raise InputError(f"{place}.{key}: {shown(value)}: is set by the program; leave it out")
        if key not in known:
            raise unknown_key(f"{place}.", str(key), value, {*known} - supplied)
        check_value(value, known[key].kind, f"{place}.{key}")
        _refuse(f"{place}.{key}", value, range_problem(f"{target.rpartition('.')[2]}.{key}", value))
    _refuse_missing([name for name in known if known[name].required and name not in supplied], node, f"{place}.")


def _check_target(target: Any, place: str, group: str) -> None:
    """Only classes that a file of the group names, that live in the group's folder, and that are defined there."""
    home, guests = HOMES.get(group, ("", ()))
    groups = [group, *guests] if home else []
    allowed = {name for each in groups for name in named_targets(each) if name.startswith(HOMES[each][0])}
    if not isinstance(target, str) or target not in allowed or not defines(target):
        names = ", ".join(sorted(allowed)) or "none"
        raise InputError(f"{place}._target_: {shown(target)}: not a part of this group; allowed: {names}")


def _refuse(place: str, value: Any, problem: str | None) -> None:
    if problem is not None:
        raise InputError(f"{place}: {shown(value)}: {problem}")


def _refuse_missing(needed: Iterable[str], values: Mapping[str, Any], place: str) -> None:
    for name in needed:
        if name not in values:
            raise InputError(f"{place}{name}: missing; set it with {place}{name}=<value>")
