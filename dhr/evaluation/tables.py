"""The score table, rounded the same way on the terminal and in the report."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NOTHING = "-"  # plain ASCII: a log file may not take more

Scored = tuple[str, Mapping[str, Any]]
"""Name of what was scored, and its scores as in scores/<split>.json."""


def number(value: object) -> float | None:
    """The value as a finite float; None for anything else.

    >>> [number(value) for value in (3, 0.5, True, "3", float("nan"), None)]
    [3.0, 0.5, None, None, None, None]
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def percent(value: object) -> str:
    """A value that is in percent already, with one decimal.

    >>> percent(79.62), percent(None)
    ('79.6', '-')
    """
    known = number(value)
    return NOTHING if known is None else f"{known:.1f}"


def ratio(value: object) -> str:
    """A share in [0,1] with three decimals.

    >>> ratio(0.12745), ratio(float("nan"))
    ('0.127', '-')
    """
    known = number(value)
    return NOTHING if known is None else f"{known:.3f}"


def count(value: object) -> str:
    """A whole number with commas between thousands.

    >>> count(1449), count(0)
    ('1,449', '0')
    """
    known = number(value)
    return NOTHING if known is None else f"{known:,.0f}"


def interval(value: object) -> str:
    """Two values in percent, low and high, with one decimal.

    >>> interval([78.91, 80.29]), interval(None)
    ('78.9..80.3', '-')
    """
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2 or None in map(number, value):
        return NOTHING
    return f"{percent(value[0])}..{percent(value[1])}"


def words(value: object) -> str:
    """A text; a dash where there is none."""
    return NOTHING if value in (None, "") else str(value)


def origin(value: object) -> str:
    """Where a score comes from: measured by this program, or published by others."""
    return "measured here" if value == "here" else words(value)


@dataclass(frozen=True)
class Column:
    """One column of the table.

    Attributes:
        head: what stands above it.
        key: its key in the scores; small.miou is the key miou of what the key small holds.
        text: writes a value.
        good: 1 if large values are good, -1 if small ones are, 0 if neither.

    >>> column = Column("small objects mIoU %", "small.miou", percent, good=1)
    >>> column.value({"small": {"miou": 61.27}}), column.value({"miou": 80.0})
    (61.27, None)
    """

    head: str
    key: str
    text: Callable[[object], str]
    good: int = 0

    @property
    def numeric(self) -> bool:
        """Whether the column is aligned to the right."""
        return self.text in (percent, ratio, count, interval)

    def value(self, scores: Mapping[str, Any]) -> object:
        """The value in the scores; None where they have none, as in score files that are older than the column."""
        value: Any = scores
        for key in self.key.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        return value


@dataclass(frozen=True)
class Cell:
    """One written value; `best` marks the best of its column among the rows of the same data set and split."""

    text: str
    best: bool = False


COLUMNS = (
    Column("data set", "dataset", words),
    Column("split", "split", words),
    Column("mIoU %", "miou", percent, good=1),
    Column("95 % interval", "miou_interval", interval),
    Column("mFPR", "mfpr", ratio, good=-1),
    Column("mFNR", "mfnr", ratio, good=-1),
    Column("small classes mFNR", "small_mfnr", ratio, good=-1),
    Column("small objects mIoU %", "small.miou", percent, good=1),
    Column("small objects mFNR", "small.mfnr", ratio, good=-1),
    Column("boundary mIoU %", "boundary.miou", percent, good=1),
    Column("images", "images", count),
    Column("missing", "missing", count),
    Column("extra", "extra", count),
    Column("source", "measured", origin),
)


OPTIONAL = ("small", "miou_interval", "boundary")  # what the keys of columns begin with that may be empty


def columns_of(rows: Sequence[Scored]) -> list[Column]:
    """The columns that say something about these rows.

    Without the data set where there is only one, without `extra` where there is none, and without those columns of
    intervals, contours, small classes and small objects that are empty, as in score files that are older.

    >>> [column.head for column in columns_of([("a", {"miou": 70.0}), ("b", {"small": {"mfnr": 0.2}})])]
    ['split', 'mIoU %', 'mFPR', 'mFNR', 'small objects mFNR', 'images', 'missing', 'source']
    """
    scores = [entry for _, entry in rows]
    left_out = {
        "dataset": len({words(entry.get("dataset")) for entry in scores}) < 2,
        "extra": not any(number(entry.get("extra")) for entry in scores),
        **{
            column.key: all(column.text(column.value(entry)) == NOTHING for entry in scores)
            for column in COLUMNS
            if column.key.startswith(OPTIONAL)
        },
    }
    return [column for column in COLUMNS if not left_out.get(column.key, False)]


def cells_of(rows: Sequence[Scored], columns: Sequence[Column]) -> list[list[Cell]]:
    """Written values, one list per row. Values that are written alike are equally good.

    >>> rows = [("a", {"miou": 70.01}), ("b", {"miou": 70.04}), ("c", {"miou": 65.0})]
    >>> [(cell.text, cell.best) for (cell,) in cells_of(rows, [Column("mIoU %", "miou", percent, good=1)])]
    [('70.0', True), ('70.0', True), ('65.0', False)]
    """
    return [
        [Cell(column.text(column.value(scores)), _best(scores, rows, column)) for column in columns]
        for _, scores in rows
    ]


def _best(scores: Mapping[str, Any], rows: Sequence[Scored], column: Column) -> bool:
    own = number(column.value(scores))
    split = (scores.get("dataset"), scores.get("split"))
    rivals = [column.value(entry) for _, entry in rows if (entry.get("dataset"), entry.get("split")) == split]
    values = [value for value in map(number, rivals) if value is not None]
    if not column.good or own is None or len(values) < 2:
        return False
    winner = max(values) if column.good > 0 else min(values)
    return column.text(own) == column.text(winner)


def definitions(scores: Iterable[Mapping[str, Any]]) -> list[str]:
    """The definitions the scores were computed by, each once."""
    return list(dict.fromkeys(str(entry["definition"]) for entry in scores if entry.get("definition")))


def score_table(rows: Sequence[Scored]) -> str:
    """Scores as lines of plain text: mIoU in percent with one decimal, mFPR and mFNR with three.

    A star marks the best value among the rows of one split; the definitions of the scores stand below.

    >>> print(score_table([("masks", {"split": "validation", "miou": 79.62, "mfpr": 0.127, "images": 1449})]))
           split       mIoU %   mFPR  mFNR  images  missing  source
    masks  validation    79.6  0.127     -   1,449        -  -
    """
    columns = columns_of(rows)
    body = [[cell.text + "*" * cell.best for cell in line] for line in cells_of(rows, columns)]
    lines = [[""] + [column.head for column in columns]]
    lines += [[name, *texts] for (name, _), texts in zip(rows, body, strict=True)]
    right = [False] + [column.numeric for column in columns]
    widths = [max(map(len, texts)) for texts in zip(*lines, strict=True)]
    table = []
    for texts in lines:
        cells = zip(texts, widths, right, strict=True)
        table.append(
            "  ".join(text.rjust(width) if last else text.ljust(width) for text, width, last in cells).rstrip()
        )
    if any(cell.endswith("*") for line in body for cell in line):
        table.append("* best of its split")
    return "\n".join(table + [f"definition: {text}" for text in definitions(entry for _, entry in rows)])


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Lines of Markdown, whose first is the head; all columns but the first are aligned to the right.

    >>> print(markdown_table([["class", "IoU %"], ["cat", "70.0"]]))
    | class | IoU % |
    | ----- | ----: |
    | cat   |  70.0 |
    """
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    lines = [[cells[0].ljust(widths[0]), *map(str.rjust, cells[1:], widths[1:])] for cells in rows]
    ruler = ["-" * widths[0], *(f"{'-' * (width - 1)}:" for width in widths[1:])]
    return "\n".join(f"| {' | '.join(line)} |" for line in [lines[0], ruler, *lines[1:]])
