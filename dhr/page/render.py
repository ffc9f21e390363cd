"""Fills the templates of this folder: every value is escaped, and a missing one is an error."""

import base64
import hashlib
import re
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from dhr.config.provenance import in_words
from dhr.evaluation.tables import count, number, origin, percent, ratio, words

PAINTS = ("#0069a8", "#d05800", "#00805f", "#b0508b", "#a87400", "#3f97cf", "#4a4f57")  # page.css: --s0 to --s6, light
DASHES = ("none", "7 2", "3 2", "8 2 2 2", "2 3", "10 4", "5 2 1 2")  # of the lines in these colours
GREY = "#a3a8b0"  # page.css: --given


@cache
def templates() -> Environment:
    """The templates, with the filters that write values."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"count": count, "origin": origin, "percent": percent, "ratio": ratio, "words": words}
    environment.filters |= {"in_words": in_words, "pieces": pieces}
    environment.filters |= {"colour": colour, "dashes": dashes, "paint": paint, "part": part}
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    return environment


def render(template: str, **values: object) -> bytes:
    """A page as UTF-8; the same values give the same bytes. What UTF-8 cannot encode becomes a question mark."""
    return templates().get_template(template).render(values).encode("utf-8", "replace")


def colour(slot: int | None) -> str:
    """Class of a colour in page.css; None is the grey of the given masks."""
    return "given" if slot is None else f"s{slot % len(PAINTS)}"


def paint(slot: int | None) -> str:
    """The same colour in print, where no style sheet is."""
    return GREY if slot is None else PAINTS[slot % len(PAINTS)]


def dashes(slot: int | None) -> str:
    """The dashes of a line of this colour, for those who cannot tell the colours apart."""
    return DASHES[0] if slot is None else DASHES[slot % len(DASHES)]


def part(value: object, full: float) -> str:
    """Length of a bar as a share of `full`, from 0 to 1; empty for what is no finite number."""
    length = number(value)
    return "" if length is None else f"{min(max(length / full, 0.0), 1.0):.4g}"


def pieces(text: str) -> list[str]:
    """The parts of a name between which a line may end.

    >>> pieces("runs/a_b-c")
    ['runs/', 'a_', 'b-c']
    """
    return re.split(r"(?<=[_/.])(?=.)", text)


def script_hash(name: str) -> str:
    """What a Content-Security-Policy calls a script of this folder: the browser runs this one and no other."""
    digest = hashlib.sha256((Path(__file__).parent / name).read_bytes()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def file_stem(title: str) -> str:
    """The name of the file of a chart; the script of the report names what it saves alike.

    >>> file_stem("validation mIoU, %")
    'validation-miou'
    """
    return re.sub("[^a-z0-9]+", "-", title.lower()).strip("-") or "chart"
