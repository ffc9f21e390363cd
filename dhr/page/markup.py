"""HTML and SVG as nested calls, so that every text of a report is escaped unless it was built here."""

import html
from collections.abc import Iterable

VOID = frozenset({"br", "img", "meta"})  # HTML elements that have no end tag


class Markup(str):
    """Text that is HTML already; only the functions of this module and constants in the code make it."""

    __slots__ = ()


def join(parts: Iterable[str]) -> Markup:
    """Puts parts behind each other; those that are not Markup are escaped."""
    return Markup("".join(part if isinstance(part, Markup) else html.escape(part) for part in parts))


def element(tag: str, *children: str, **attributes: object) -> Markup:
    """One element with its children.

    Attribute names lose a trailing underscore and turn other underscores into hyphens (`class_`, `stroke_width`);
    an attribute that is None is left out. Values and plain children are escaped.
    """
    pairs = ((name.rstrip("_").replace("_", "-"), value) for name, value in attributes.items() if value is not None)
    head = "".join(f' {name}="{html.escape(str(value))}"' for name, value in pairs)
    if tag in VOID:
        return Markup(f"<{tag}{head}>")
    return Markup(f"<{tag}{head}>{join(children)}</{tag}>")
