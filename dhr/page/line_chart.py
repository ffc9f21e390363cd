"""Line charts: coordinates of lines, ticks and texts. The macro `line_plot` in svg.html.j2 draws them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

MARKED = 40  # lines of up to so many points show every point
DRAWN = 240  # longer lines are drawn as means of neighbouring points
LETTER = 6.2  # mean width of a letter at the chart's font size, in SVG units
RIGHT, TOP, BOTTOM = 348.0, 12.0, 178.0  # edges of the plotted area, in SVG units; the macro has them too

Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """Points (x, y) in the order of x; NaN leaves a gap. `slot` picks colour and dashes."""

    name: str
    slot: int
    points: Sequence[Point]


@dataclass(frozen=True)
class Curve:
    """A line as an SVG path, empty without a finite value, and its marked points (x, y, text)."""

    name: str
    slot: int
    path: str
    dots: Sequence[tuple[float, float, str]]


@dataclass(frozen=True)
class Chart:
    """A chart in SVG units; ticks are (place, text), the reference is (name, height)."""

    title: str
    description: str
    x_label: str
    left: float
    x_ticks: Sequence[tuple[float, str]]
    y_ticks: Sequence[tuple[float, str]]
    curves: Sequence[Curve]
    reference: tuple[str, float] | None
    width: float = 360.0
    height: float = 212.0
    dashed: bool = True

    @property
    def legend(self) -> list[tuple[str, int]]:
        """Names of the lines and their colours; empty where there is only one."""
        return [(curve.name, curve.slot) for curve in self.curves] if len(self.curves) > 1 else []


@dataclass(frozen=True)
class Axis:
    """Maps values low..high to places start..end."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Place of a value, to a tenth of a unit."""
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 1)

    def ticks(self, values: Sequence[float]) -> list[tuple[float, str]]:
        """Place and text of those values that are on the axis."""
        return [(self.at(value), tick_text(value)) for value in values if self.low <= value <= self.high]


def line_chart(
    lines: Sequence[Line], *, title: str, description: str, x_label: str, reference: tuple[str, float] | None = None
) -> Chart:
    """Places lines over common axes; one without a finite value leaves no mark.

    Args:
        lines: what is drawn.
        title: what the chart shows, also its accessible name.
        description: the same in a sentence; where the lines begin and end is added.
        x_label: what x is.
        reference: name and value of a horizontal dashed line.
    """
    drawn = [(line, thin(line.points)) for line in lines]
    finite = [(x, y) for _, points in drawn for x, y in points if math.isfinite(y)] or [(0.0, 0.0)]
    heights = [y for _, y in finite] + ([reference[1]] if reference else [])
    marks = ticks(min(heights), max(heights))
    left = round(14 + LETTER * max(len(tick_text(value)) for value in marks), 1)
    low, high = min(x for x, _ in finite), max(x for x, _ in finite)
    if low == high:
        low, *_, high = ticks(min(0.0, low), high)
    across = Axis(0.0 if 0 < low < 0.2 * high else low, high, left, RIGHT)  # from 0 where that is near
    up = Axis(marks[0], marks[-1], BOTTOM, TOP)
    return Chart(
        title=title,
        description=" ".join([description, *(_ends(line.name, points) for line, points in drawn)]).strip(),
        x_label=x_label,
        left=left,
        x_ticks=across.ticks(ticks(across.low, across.high)),
        y_ticks=up.ticks(marks),
        curves=[_curve(line, points, across, up) for line, points in drawn],
        reference=(reference[0], up.at(reference[1])) if reference else None,
    )


def thin(points: Sequence[Point]) -> list[Point]:
    """At most DRAWN points: means over the finite values of neighbours, NaN where they have none."""
    size = math.ceil(len(points) / DRAWN)
    means: list[Point] = []
    for start in range(0, len(points), max(1, size)):
        finite = [(x, y) for x, y in points[start : start + size] if math.isfinite(y)]
        count = len(finite)
        mean = (sum(x for x, _ in finite) / count, sum(y for _, y in finite) / count) if count else None
        means.append(mean or (points[start][0], math.nan))
    return means


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
    """The text of a tick, as short as possible: 12000 becomes 12k."""
    return f"{value / 1000:g}k" if abs(value) >= 10_000 else f"{value:.6g}"


def _ends(name: str, points: Sequence[Point]) -> str:
    known = [y for _, y in points if math.isfinite(y)]
    return f"{name}: from {known[0]:.4g} to {known[-1]:.4g}." if known else ""


def _curve(line: Line, points: Sequence[Point], across: Axis, up: Axis) -> Curve:
    path, pen_down = "", False
    dots: list[tuple[float, float, str]] = []
    for x, y in points:
        if math.isfinite(y):
            right, down = across.at(x), up.at(y)
            path += f"{'L' if pen_down else 'M'}{right:g} {down:g}"
            dots.append((right, down, f"{line.name}: {y:.4g} at {tick_text(x)}"))
        pen_down = math.isfinite(y)
    return Curve(line.name, line.slot, path, dots if len(points) <= MARKED else [])
