"""Parts that every plot is made of: axes with round ticks, lines, texts and legends as SVG."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dhr.page.markup import Markup, element, join

COLOURS = 7  # colours and dash patterns the style sheet knows
LETTER = 6.2  # mean width of a letter at the plots' font size, in SVG units


@dataclass(frozen=True)
class Axis:
    """Maps values low..high to positions start..end."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Position of a value, to a tenth of a unit."""
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 1)


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """At least two round numbers, 1, 2 or 5 times a power of ten apart, that enclose [low, high]."""
    if high - low <= 1e-12 * max(abs(low), abs(high), 1e-290):  # one value, but for rounding
        pad = abs(low) * 0.05 or 1.0
        low, high = low - pad, high + pad
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{index * step:.12g}") for index in range(first, last + 1)]


def tick_text(value: float) -> str:
    """A tick as short as it can be: 12000 as 12k."""
    return f"{value / 1000:g}k" if abs(value) >= 10_000 else f"{value:.6g}"


def shorten(text: str, letters: int) -> str:
    """The text, cut with an ellipsis where it is longer than `letters`."""
    return text if len(text) <= letters else f"{text[: max(1, letters - 1)]}\u2026"


def svg(width: float, height: float, *children: str, title: str, description: str, class_: str) -> Markup:
    """An SVG picture of the given inner size with a name and a description for those who cannot see it."""
    return element(
        "svg",
        element("title", title),
        element("desc", description),
        *children,
        viewBox=f"0 0 {width:g} {height:g}",
        role="img",
        aria_label=title,
        class_=f"plot {class_}",
        style=f"--natural:{width:g}px",
    )


def text(x: float, y: float, content: str, **attributes: object) -> Markup:
    """A line of text, at `x`, `y`."""
    return element("text", content, x=f"{x:g}", y=f"{y:g}", **attributes)


def stroke(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """A straight line."""
    return element("line", x1=f"{x1:g}", y1=f"{y1:g}", x2=f"{x2:g}", y2=f"{y2:g}", class_=class_)


def slot_class(slot: int | None) -> str:
    """Style-sheet class of a colour."""
    return "given" if slot is None else f"s{slot % COLOURS}"


def legend(names: Sequence[tuple[str, int | None]], *, left: float, top: float, square: bool = False) -> Markup:
    """One row per entry, 16 units each: a piece of its line, or a square for bars, and the name."""
    rows = []
    for index, (name, slot) in enumerate(names):
        y = top + 16 * index
        patch = element(
            "rect", x=f"{left + 8:g}", y=f"{y - 5:g}", width="10", height="10", class_=f"bar {slot_class(slot)}"
        )
        rows.append(patch if square else stroke(left, y, left + 18, y, f"line {slot_class(slot)}"))
        rows.append(text(left + 24, y + 4, shorten(name, 48), class_="key"))
    return join(rows)
