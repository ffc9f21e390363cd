"""Plots as inline SVG: lines, grouped bars and a heat map. Colours come from the page's style sheet (report.css)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dhr.page.drawing import LETTER, Axis, legend, shorten, slot_class, stroke, svg, text, tick_text, ticks
from dhr.page.markup import Markup, element, join

MARKED = 40  # lines of up to so many points show every point
DRAWN = 240  # longer lines are drawn as means of neighbouring points
WRITTEN = 2  # bars of a label up to which their values are written behind them
SHOWN = 0.005  # shares below stay blank in a heat map
PRINTED = 0.01  # shares from here on are printed into their cell

Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """Points (x, y) in the order of x; NaN leaves a gap. `slot` picks colour and dashes."""

    name: str
    slot: int
    points: Sequence[Point]


@dataclass(frozen=True)
class Bars:
    """One value per label, None where there is none. `slot` None is the grey of the given masks."""

    name: str
    slot: int | None
    values: Sequence[float | None]


def thin(points: Sequence[Point]) -> list[Point]:
    """At most DRAWN points: means over neighbours. Means leave out NaN unless there is nothing else."""
    size = math.ceil(len(points) / DRAWN)
    groups = [points[start : start + size] for start in range(0, len(points), max(1, size))]
    return [_mean_point(group) for group in groups]


def _mean_point(group: Sequence[Point]) -> Point:
    known = [(x, y) for x, y in group if math.isfinite(y)]
    if not known:
        return group[0][0], math.nan
    return sum(x for x, _ in known) / len(known), sum(y for _, y in known) / len(known)


def line_chart(
    lines: Sequence[Line],
    *,
    title: str,
    description: str,
    x_label: str,
    keys: bool = True,
    reference: tuple[str, float] | None = None,
) -> Markup:
    """Lines over common axes.

    Args:
        lines: what is drawn; a line without a finite value only appears in the legend.
        title: what the plot shows, also its accessible name.
        description: the same in a sentence.
        x_label: what x is.
        keys: whether a legend stands below the plot.
        reference: name and value of a horizontal dashed line.
    """
    drawn = [(line, thin(line.points)) for line in lines]
    finite = [(x, y) for _, points in drawn for x, y in points if math.isfinite(y)] or [(0.0, 0.0)]
    heights = [y for _, y in finite] + ([reference[1]] if reference else [])
    y_ticks = ticks(min(heights), max(heights))
    left = 14 + LETTER * max(len(tick_text(value)) for value in y_ticks)
    across, up = _across([x for x, _ in finite], left), Axis(y_ticks[0], y_ticks[-1], 178, 12)
    parts = [_grid(across, up, y_ticks, x_label)]
    if reference:
        parts.append(_reference(reference, across, up))
    parts += [_line(line, points, across, up) for line, points in drawn]
    names = [(line.name, line.slot) for line in lines] if keys else []
    parts.append(legend(names, left=left, top=224))
    about = _with_ends(description, drawn)
    return svg(360, 212 + 16 * len(names), *parts, title=title, description=about, class_="lines")


def _across(places: Sequence[float], left: float) -> Axis:
    """The horizontal axis: from the first to the last place, from 0 where that is near."""
    low, high = min(places), max(places)
    if low == high:
        marks = ticks(low, high)
        low, high = marks[0], marks[-1]
    return Axis(0.0 if 0 < low < 0.2 * high else low, high, left, 348)


def _with_ends(description: str, drawn: Sequence[tuple[Line, list[Point]]]) -> str:
    ends = [(line.name, [y for _, y in points if math.isfinite(y)]) for line, points in drawn]
    return " ".join([description, *(f"{name}: from {ys[0]:.4g} to {ys[-1]:.4g}." for name, ys in ends if ys)])


def _grid(across: Axis, up: Axis, y_ticks: Sequence[float], x_label: str) -> Markup:
    parts = []
    for value in y_ticks:
        y = up.at(value)
        parts.append(stroke(across.start, y, across.end, y, "grid"))
        parts.append(text(across.start - 6, y + 4, tick_text(value), class_="tick", text_anchor="end"))
    parts.append(stroke(across.start, up.start, across.end, up.start, "axis"))
    for value in ticks(across.low, across.high):
        if not across.low <= value <= across.high:
            continue
        x = across.at(value)
        parts.append(stroke(x, up.start, x, up.start + 4, "axis"))
        parts.append(text(x, up.start + 16, tick_text(value), class_="tick", text_anchor="middle"))
    parts.append(text(across.end, up.start + 29, x_label, class_="tick", text_anchor="end"))
    return join(parts)


def _reference(reference: tuple[str, float], across: Axis, up: Axis) -> Markup:
    name, value = reference
    y = up.at(value)
    above = y - 5 if y > up.end + 14 else y + 13
    label = text(across.end, above, shorten(name, 40), class_="key halo", text_anchor="end")
    return join([stroke(across.start, y, across.end, y, "reference"), label])


def _line(line: Line, points: Sequence[Point], across: Axis, up: Axis) -> Markup:
    colour, commands, pen_down = slot_class(line.slot), [], False
    for x, y in points:
        if math.isfinite(y):
            commands.append(f"{'L' if pen_down else 'M'}{across.at(x):g} {up.at(y):g}")
        pen_down = math.isfinite(y)
    parts = [element("path", d="".join(commands), class_=f"line {colour}")] if commands else []
    if len(points) <= MARKED:
        parts += [
            element(
                "circle",
                element("title", f"{line.name}: {y:.4g} at {tick_text(x)}"),
                cx=f"{across.at(x):g}",
                cy=f"{up.at(y):g}",
                r="2.4",
                class_=f"dot {colour}",
            )
            for x, y in points
            if math.isfinite(y)
        ]
    return join(parts)


def bar_chart(
    labels: Sequence[str], bars: Sequence[Bars], *, title: str, description: str, decimals: int, keys: bool = True
) -> Markup:
    """Horizontal bars from 0, grouped by label, in the given order from top to bottom.

    A value that is None or not finite leaves its place empty with the mark "none". Values are written behind the
    bars where there are at most WRITTEN per label.
    """
    thick = 10 if len(bars) <= WRITTEN else max(4, 11 - 2 * len(bars))
    pitch = max(15, thick * len(bars) + 6)
    known = [value for bar in bars for value in bar.values if value is not None and math.isfinite(value)]
    marks = ticks(0, max([*known, 10.0**-decimals]))
    letters = min(18, max(map(len, labels), default=1))
    across = Axis(0, marks[-1], 10 + LETTER * letters, 366)
    bottom = 8 + pitch * len(labels)
    parts = [_upright_grid(across, marks, bottom)]
    for row, label in enumerate(labels):
        top = 8 + pitch * row + (pitch - thick * len(bars)) / 2
        parts.append(text(across.start - 6, 8 + pitch * (row + 0.5) + 4, shorten(label, letters), text_anchor="end"))
        values = [(bar, bar.values[row], top + thick * index) for index, bar in enumerate(bars)]
        parts += [_bar(label, entry, across, thick, decimals if len(bars) <= WRITTEN else None) for entry in values]
    names = [(bar.name, bar.slot) for bar in bars] if keys and len(bars) > 1 else []
    parts.append(legend(names, left=across.start, top=bottom + 34, square=True))
    height = bottom + 22 + 16 * len(names) + 6 * bool(names)
    return svg(400, height, *parts, title=title, description=description, class_="bars")


def _upright_grid(across: Axis, marks: Sequence[float], bottom: float) -> Markup:
    parts = []
    for value in marks:
        x = across.at(value)
        parts.append(stroke(x, 4, x, bottom, "grid" if value else "axis"))
        parts.append(text(x, bottom + 14, tick_text(value), class_="tick", text_anchor="middle"))
    return join(parts)


def _bar(label: str, entry: tuple[Bars, float | None, float], across: Axis, thick: float, digits: int | None) -> Markup:
    bars, value, top = entry
    if value is None or not math.isfinite(value):
        return text(across.start + 4, top + thick - 1, "none", class_="tick small")
    tip = element("title", f"{label}, {bars.name}: {value:.4g}")
    width = max(across.at(value) - across.start, 0.6)  # a class at zero still shows a sliver
    drawn = [
        element(
            "rect",
            tip,
            x=f"{across.start:g}",
            y=f"{top:g}",
            width=f"{width:g}",
            height=f"{thick - 0.6:g}",
            class_=f"bar {slot_class(bars.slot)}",
        )
    ]
    if digits is not None:
        drawn.append(text(across.start + width + 4, top + thick - 1.2, f"{value:.{digits}f}", class_="tick small"))
    return join(drawn)


def heat_map(labels: Sequence[str], matrix: Sequence[Sequence[float]], *, title: str, description: str) -> Markup:
    """A square matrix of shares in [0,1], rows downwards; the diagonal has one colour, everything else another.

    Opacity grows with the square root of the share, so that a confusion of a few percent is visible. Shares below
    SHOWN and values that are not finite stay blank.
    """
    cell = min(30.0, max(8.0, 620 / max(1, len(labels))))
    margin = 12 + LETTER * min(16, max(map(len, labels), default=1)) * min(1.0, cell / 11)
    side = cell * len(labels)
    size = f"font-size:{min(11.0, cell):g}px"
    parts = [element("rect", x=f"{margin:g}", y=f"{margin:g}", width=f"{side:g}", height=f"{side:g}", class_="field")]
    for index, label in enumerate(labels):
        middle = margin + cell * (index + 0.5)
        short = shorten(label, 16)
        parts.append(text(margin - 6, middle + 4 * min(1.0, cell / 11), short, text_anchor="end", style=size))
        turned = f"rotate(-90 {middle + 4:g} {margin - 6:g})"
        parts.append(text(middle + 4, margin - 6, short, transform=turned, style=size))
    for row, shares in enumerate(matrix):
        parts += [
            _heat_cell(labels, (row, column), share, corner=margin, cell=cell)
            for column, share in enumerate(shares)
            if math.isfinite(share) and share >= SHOWN
        ]
    whole = margin + side + 4
    return svg(whole, whole, *parts, title=title, description=description, class_="heat")


def _heat_cell(labels: Sequence[str], place: tuple[int, int], share: float, *, corner: float, cell: float) -> Markup:
    row, column = place
    x, y = corner + cell * column, corner + cell * row
    tip = element("title", f"{labels[row]} seen as {labels[column]}: {100 * share:.1f} %")
    shade = round(math.sqrt(min(share, 1.0)), 2)
    colour = "hit" if row == column else "miss"
    drawn = element(
        "rect",
        tip,
        x=f"{x:g}",
        y=f"{y:g}",
        width=f"{cell - 1:g}",
        height=f"{cell - 1:g}",
        fill_opacity=f"{shade:g}",
        class_=colour,
    )
    if cell < 18 or share < PRINTED:
        return drawn
    value = text(
        x + cell / 2 - 0.5,
        y + cell / 2 + 3,
        f"{100 * share:.0f}",
        text_anchor="middle",
        class_="value on" if shade > 0.7 else "value",
    )
    return join([drawn, value])
