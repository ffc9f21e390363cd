"""Fills the templates of this folder: every value is escaped, and one that is not there is an error."""

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from dhr.evaluation.tables import count, number, origin, percent, ratio, words

COLOURS = 7  # colours and dash patterns that page.css knows


@cache
def templates() -> Environment:
    """The templates and what they write values with."""
    found = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters |= {"count": count, "origin": origin, "percent": percent, "ratio": ratio, "words": words}
    found.filters |= {"colour": colour, "part": part}
    return found


def render(template: str, **values: object) -> bytes:
    """A page as UTF-8; the same values give the same bytes. What is no text in UTF-8 becomes a question mark."""
    return templates().get_template(template).render(values).encode("utf-8", "replace")


def colour(slot: int | None) -> str:
    """Class of a colour in page.css; None is the grey of the given masks."""
    return "given" if slot is None else f"s{slot % COLOURS}"


def part(value: object, full: float) -> str:
    """Length of a bar in [0,1], where `full` is 1; empty for what is no finite number."""
    found = number(value)
    return "" if found is None else f"{min(max(found / full, 0.0), 1.0):.4g}"
