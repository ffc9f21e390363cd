"""Fills the templates of this folder: every value is escaped, and a missing one is an error."""

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from dhr.evaluation.tables import count, number, origin, percent, ratio, words

COLOURS = 7  # colours and dash patterns that page.css knows


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
    environment.filters |= {"colour": colour, "part": part}
    return environment


def render(template: str, **values: object) -> bytes:
    """A page as UTF-8; the same values give the same bytes. What UTF-8 cannot encode becomes a question mark."""
    return templates().get_template(template).render(values).encode("utf-8", "replace")


def colour(slot: int | None) -> str:
    """Class of a colour in page.css; None is the grey of the given masks."""
    return "given" if slot is None else f"s{slot % COLOURS}"


def part(value: object, full: float) -> str:
    """Length of a bar as a share of `full`, from 0 to 1; empty for what is no finite number."""
    length = number(value)
    return "" if length is None else f"{min(max(length / full, 0.0), 1.0):.4g}"
