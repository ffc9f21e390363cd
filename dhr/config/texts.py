"""Values of keys that hold text, as they were typed: Hydra's grammar would read numbers, lists and calls in them."""

import re
from collections.abc import Iterator
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString
from hydra.errors import HydraException

from dhr.config.groups import classes_of
from dhr.config.kinds import is_name, is_text, is_texts, is_words, keys_of, section_of, takes_part
from dhr.config.schema import SCHEMAS
from dhr.config.signatures import defines, section_of_part
from dhr.config.tree import is_group
from dhr.core.words import quoted

WORD = re.compile(r"(\+{0,2}([A-Za-z_][\w.]*)=)(.*)", re.DOTALL)
CALL = re.compile(r"(choice|range|interval|glob|shuffle|sort|tag|str|json_str)\(.*\)", re.DOTALL)  # of Hydra's grammar
PIECE = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|\([^()]*\)|\[[^][]*\]|\{[^{}]*\}|,|[^,]""", re.DOTALL)


def as_typed(verb: str, word: str, *, sweep: bool = False) -> str:
    """A typed word, with its value quoted for Hydra where the key holds text; other words as they are.

    Left alone are null, what is quoted already, and what was escaped for Hydra's grammar.

    Args:
        verb: name of the command.
        word: one word of the command line.
        sweep: whether commas separate the values of jobs.
    """
    match = WORD.fullmatch(word)
    if match is None or is_group(match[2]):
        return word
    head, key, value = match.groups()
    kinds = kinds_of(verb, key)
    if kinds and all(map(is_texts, kinds)):
        inner = value.strip()
        if not re.fullmatch(r"\[.*\S.*\]", inner, re.DOTALL):
            return word
        return f"{head}[{','.join(_text(piece.strip()) for piece in _pieces(inner[1:-1]))}]"
    if not any(map(is_text, kinds)) or not all(is_text(kind) or is_words(kind) for kind in kinds):
        return word
    if sweep:
        return head + ",".join(_text(piece.strip()) for piece in _pieces(value))
    several = any(map(is_name, kinds)) and "," in value  # no name has a comma: the -m was forgotten
    return word if several else head + _text(value)


def _text(value: str) -> str:
    """One value, quoted unless Hydra is to read it."""
    if value.lower() == "null" or CALL.fullmatch(value) or _is_quoted(value):
        return value
    read = _read(value) if "\\" in value else None
    return quoted(read if isinstance(read, str) else value)


def _is_quoted(value: str) -> bool:
    return value[:1] in ("'", '"') and isinstance(_read(value), QuotedString)


def _read(value: str) -> Any:
    """What Hydra reads in a value; None where it does not understand it."""
    try:
        return OverridesParser.create().parse_rule(f"key={value}", "override")._value
    except HydraException:
        return None


def _pieces(value: str) -> Iterator[str]:
    """What stands between commas, those inside quotes and pairs of brackets not counted."""
    piece = ""
    for token in PIECE.findall(value):
        if token == ",":
            yield piece
            piece = ""
        else:
            piece += token
    yield piece


def kinds_of(verb: str, key: str) -> list[Any]:
    """The types that a key can have: one, or inside a part those of every class that may stand there."""
    kind: Any = SCHEMAS[verb]
    for name in key.split("."):
        section = section_of(kind)
        if section is None:
            return _kinds_in_parts(key.partition(".")[0], key.rpartition(".")[2]) if takes_part(kind) else []
        kind = keys_of(section).get(name)
    return [] if kind is None else [kind]


def _kinds_in_parts(group: str, key: str) -> list[Any]:
    known = [keys_of(section_of_part(target)) for target in sorted(classes_of(group)) if defines(target)]
    return [each[key] for each in known if key in each]
