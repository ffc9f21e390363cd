"""What a report says of scores: the table, the scores per class, the confusion matrix, and the scores over tau."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dhr.config.provenance import UNKNOWN
from dhr.evaluation.tables import (
    NOTHING,
    Cell,
    Column,
    cells_of,
    columns_of,
    definitions,
    interval,
    number,
    percent,
    words,
)
from dhr.page.line_chart import Chart, Line, line_chart
from dhr.page.runs import MAIN_SPLIT, Run

SAME_BUT_TAU = ("dataset", "wss", "uss", "rebalancing", "backbone", "decoder", "seed", "max_epochs")
TAU_CHARTS = (("miou", "mIoU over tau, %"), ("mfpr", "mFPR over tau"), ("mfnr", "mFNR over tau"))
TOLD_ONCE = {"missing": "{} missing", "measured": "{}"}  # columns that are a sentence where all rows agree
MISTAKES = 8  # listed beside the confusion matrix
MISTAKE = 0.01  # share of a class's truth pixels that is listed at least


@dataclass(frozen=True)
class ScoreRow:
    """Scores of a run, or of the given masks, in one split.

    `slot` is the colour, None the grey of the masks; `saw` are letters, see dhr.config.provenance.
    """

    name: str
    slot: int | None
    scores: Mapping[str, Any]
    saw: str = UNKNOWN

    @property
    def classes(self) -> Mapping[str, Mapping[str, Any]]:
        """Scores per class name, in class order."""
        return {str(row.get("name")): row for row in self.scores.get("classes") or []}


@dataclass(frozen=True)
class ScoreTable:
    """Everything that was scored.

    Attributes:
        columns: what is told of every row.
        rows: with their cells.
        same: what all rows have in common, in place of a column.
        definitions: names of rows, and the clauses of what they were scored by.
    """

    columns: Sequence[Column]
    rows: Sequence[tuple[ScoreRow, Sequence[Cell]]]
    same: Sequence[str]
    definitions: Sequence[tuple[Sequence[str], Sequence[str]]]

    @property
    def marks_best(self) -> bool:
        """Whether any value is the best among several."""
        return any(cell.best for _, cells in self.rows for cell in cells)


@dataclass(frozen=True)
class ClassRow:
    """One class: its share of the truth in percent, the scores of every entry, and the best IoU as it is written."""

    name: str
    share: float
    scores: Sequence[Mapping[str, Any]]
    best: str | None


@dataclass(frozen=True)
class SplitClasses:
    """Scores per class of the entries that have the classes of the run; `others` have different ones."""

    split: str
    entries: Sequence[ScoreRow]
    rows: Sequence[ClassRow]
    others: Sequence[ScoreRow]

    @property
    def has_interval(self) -> bool:
        """Whether any score file says between what bounds an IoU lies."""
        return any(interval(scores.get("iou_interval")) != NOTHING for row in self.rows for scores in row.scores)

    @property
    def has_boundary(self) -> bool:
        """Whether any score file has IoU along the borders of the classes."""
        return any(number(scores.get("boundary_iou")) is not None for row in self.rows for scores in row.scores)


@dataclass(frozen=True)
class Confusion:
    """Shares (K,K) of each truth class, NaN where it is not in the truth, and its greatest mistakes.

    A mistake is (share, class in the truth, class in the prediction); the greatest comes first.
    """

    split: str
    names: Sequence[str]
    shares: Sequence[Sequence[float]]
    mistakes: Sequence[tuple[float, str, str]]

    @property
    def cell(self) -> float:
        """Side of a cell in pixels."""
        return round(min(30.0, max(8.0, 620 / len(self.names))), 1)


def entries_of(runs: Sequence[Run], wss: ScoreRow | None) -> list[ScoreRow]:
    """Everything that was scored, that of one split together: the given masks first, then the runs in their order."""
    scored = [ScoreRow(run.name, run.slot, run.scores[split], run.saw) for run in runs for split in run.splits]
    entries = [wss, *scored] if wss else scored
    splits = [split_of(entry) for entry in entries]
    return sorted(entries, key=lambda entry: (split_of(entry) != MAIN_SPLIT, splits.index(split_of(entry))))


def score_table_of(entries: Sequence[ScoreRow]) -> ScoreTable:
    """The score table; without entries it has no rows."""
    rows = [(entry.name, entry.scores) for entry in entries]
    columns, same = [], []
    for column in columns_of(rows):
        texts = {column.text(column.value(entry.scores)) for entry in entries}
        if column.key in TOLD_ONCE and len(texts) == 1:
            same += [TOLD_ONCE[column.key].format(text) for text in texts if text != NOTHING]
        else:
            columns.append(column)
    told = [(_named(entries, text), clauses(text)) for text in definitions(entry.scores for entry in entries)]
    cells = cells_of(rows, columns)
    return ScoreTable(columns, list(zip(entries, cells, strict=True)), same, told)


def _named(entries: Sequence[ScoreRow], definition: str) -> list[str]:
    """Names of the rows that were scored by a definition, each once."""
    return list(dict.fromkeys(entry.name for entry in entries if str(entry.scores.get("definition")) == definition))


def clauses(definition: str) -> list[str]:
    """The parts of a definition; each but the first begins with the scores that it is about.

    >>> clauses("one matrix; means over classes; small classes: below the median; boundary: of the contour; summed")
    ['one matrix; means over classes', 'small classes: below the median', 'boundary: of the contour; summed']
    """
    return re.split(r"; (?=[a-z ]+: )", definition)


def split_of(entry: ScoreRow) -> str:
    """The split that was scored, as it is written."""
    return words(entry.scores.get("split"))


def bound(value: object) -> str:
    """A share of the image as percent.

    >>> bound(0.05), bound(None)
    ('5 %', '-')
    """
    share = number(value)
    return NOTHING if share is None else f"{100 * share:g} %"


def objects_of(entries: Sequence[ScoreRow]) -> list[tuple[ScoreRow, Mapping[str, Any]]]:
    """How many objects of every size were found, one row for each entry and size."""
    told = [(entry, entry.scores.get("objects")) for entry in entries]
    return [
        (entry, size) for entry, sizes in told if isinstance(sizes, list) for size in sizes if isinstance(size, dict)
    ]


def classes_by_split(entries: Sequence[ScoreRow], splits: Sequence[str]) -> list[SplitClasses]:
    """Scores per class of the splits in which the run of the report has any."""
    tables = []
    for split in splits:
        scored = [entry for entry in entries if entry.scores.get("split") == split and entry.classes]
        own = next((entry for entry in scored if entry.slot == 0), None)
        if own is not None:
            alike = [entry for entry in scored if list(entry.classes) == list(own.classes)]
            others = [entry for entry in scored if entry not in alike]
            tables.append(SplitClasses(split, alike, _class_rows(own, alike), others))
    return tables


def _class_rows(own: ScoreRow, entries: Sequence[ScoreRow]) -> list[ClassRow]:
    """The classes, the smallest in the truth first, those that are not in it last."""
    sizes = {name: number(row.get("truth_pixels")) or 0.0 for name, row in own.classes.items()}
    total = sum(sizes.values()) or 1.0
    rows = []
    for name in sorted(sizes, key=lambda name: (sizes[name] == 0, sizes[name])):
        scores = [entry.classes[name] for entry in entries]
        ious = [number(row.get("iou")) or 0.0 for row in scores]
        best = percent(max(ious)) if len({*map(percent, ious)}) > 1 else None
        rows.append(ClassRow(name, 100 * sizes[name] / total, scores, best))
    return rows


def confusions_of(run: Run) -> list[Confusion]:
    """The confusion matrix of every split that has one, each row divided by the truth pixels of its class."""
    confusions = []
    for split in run.splits:
        names = [str(row.get("name")) for row in run.scores[split].get("classes") or []]
        shares = row_shares(run.scores[split].get("confusion"), len(names))
        if shares is None:
            continue
        large = np.argwhere(shares >= MISTAKE)
        mistakes = [(float(shares[row, column]), names[row], names[column]) for row, column in large if row != column]
        mistakes.sort(key=lambda mistake: (-mistake[0], *mistake[1:]))
        confusions.append(Confusion(split, names, shares.tolist(), mistakes[:MISTAKES]))
    return confusions


def row_shares(confusion: object, classes: int) -> np.ndarray | None:
    """(K,K) shares of each truth class; NaN rows where the truth has none. None unless it is a K x K matrix."""
    if not isinstance(confusion, list) or not classes or any(not isinstance(row, list) for row in confusion):
        return None
    if len(confusion) != classes or any(len(row) != classes for row in confusion):
        return None
    counts = np.array([[number(value) or 0.0 for value in row] for row in confusion])
    totals = counts.sum(axis=1, keepdims=True)
    return np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)


def tau_charts(runs: Sequence[Run]) -> list[Chart]:
    """Scores over tau of the runs that differ from the first one only in it, where there are at least two."""
    own = [runs[0].record.get(key) for key in SAME_BUT_TAU]
    alike = [run for run in runs if [run.record.get(key) for key in SAME_BUT_TAU] == own]
    charts = []
    for key, title in TAU_CHARTS:
        pairs = [(number(run.record.get("tau")), number(run.scores.get(MAIN_SPLIT, {}).get(key))) for run in alike]
        points = sorted((tau, value) for tau, value in pairs if tau is not None and value is not None)
        if len({tau for tau, _ in points}) > 1:
            about = f"{title} on {MAIN_SPLIT} of runs that differ only in tau."
            charts.append(line_chart([Line(title, 0, points)], title=title, description=about, x_label="tau"))
    return charts
