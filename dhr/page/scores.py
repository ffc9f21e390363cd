"""Sections of a report about scores: the table, the classes, what is taken for what, and the score over tau."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dhr.core.words import word
from dhr.evaluation.tables import cells_of, columns_of, definitions, number, percent, ratio
from dhr.page.drawing import slot_class
from dhr.page.markup import Markup, element, join
from dhr.page.plots import Bars, Line, bar_chart, heat_map, line_chart
from dhr.page.runs import MAIN_SPLIT, Run

SAME_BUT_TAU = ("dataset", "wss", "uss", "rebalancing", "backbone", "decoder", "seed", "max_epochs")
MISTAKES = 8  # listed below the confusion matrix
MANY = 40  # classes from which on tables start folded


@dataclass(frozen=True)
class Entry:
    """Scores of one thing in one split; `slot` None is the grey of the given masks."""

    name: str
    slot: int | None
    scores: Mapping[str, Any]

    @property
    def classes(self) -> Mapping[str, Mapping[str, Any]]:
        """Scores per class name, in class order."""
        return {str(row.get("name")): row for row in self.scores.get("classes") or []}


def entries_of(runs: Sequence[Run], wss: Entry | None) -> list[Entry]:
    """Everything that was scored: the given masks first, then the runs in their order, each with all its splits."""
    scored = [Entry(run.name, run.slot, run.scores[split]) for run in runs for split in run.splits]
    return [wss, *scored] if wss else scored


def note(*content: str) -> Markup:
    """A sentence that explains or says what is missing."""
    return element("p", *content, class_="note")


def swatch(slot: int | None) -> Markup:
    """The colour of a run as a small square."""
    return element("span", class_=f"swatch {slot_class(slot)}")


def keys(names: Sequence[tuple[str, int | None]]) -> Markup:
    """One legend for several plots; nothing where there is only one thing to tell apart."""
    entries = [element("span", swatch(slot), name) for name, slot in names]
    return element("p", *entries, class_="keys") if len(entries) > 1 else join([])


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    numeric: Sequence[bool],
    groups: Sequence[tuple[str, int]] = (),
) -> Markup:
    """A table that scrolls sideways where it is too wide; the first cell of every row is its header.

    `groups` is a row above the head: contents and how many columns each spans.
    """
    kinds = ["num" if right else None for right in numeric]
    top = [element("th", cell, scope="col", class_=kind) for cell, kind in zip(head, kinds, strict=True)]
    body = []
    for first, *others in rows:
        cells = [element("td", cell, class_=kind) for cell, kind in zip(others, kinds[1:], strict=True)]
        body.append(element("tr", element("th", first, scope="row"), *cells))
    above = [element("th", cell, colspan=span, scope="colgroup", class_="group") for cell, span in groups]
    heads = [element("tr", *cells) for cells in (above, top) if cells]
    whole = element("table", element("thead", *heads), element("tbody", *body))
    return element("div", whole, class_="scroll", tabindex="0")


def score_section(entries: Sequence[Entry], run: Run) -> Markup:
    """The score table with the definition it was computed by, or how to get one."""
    if not entries:
        command = f"python -m dhr.evaluate {word('run', run.folder.root)} split={MAIN_SPLIT}"
        return note("Nothing has been scored yet. This scores the run: ", element("code", command))
    rows = [(entry.name, entry.scores) for entry in entries]
    columns = columns_of(rows)
    body, written_cells = [], cells_of(rows, columns)
    for entry, cells in zip(entries, written_cells, strict=True):
        written = [element("b", cell.text) if cell.best else cell.text for cell in cells]
        body.append([join([swatch(entry.slot), entry.name]), *written])
    head = ["scored", *(column.head for column in columns)]
    said = [note("Definition: ", text) for text in definitions(entry.scores for entry in entries)]
    key = "Lower mFPR and mFNR are better: they are shares of the union of truth and prediction."
    if any(cell.best for cells in written_cells for cell in cells):
        key += " Bold: the best among rows of the same split."
    numeric = [False, *(column.numeric for column in columns)]
    return join([table(head, body, numeric), note(key), *said])


def class_section(entries: Sequence[Entry], splits: Sequence[str]) -> Markup:
    """IoU and FNR per class as bars and as a table, one part per split."""
    parts = []
    for split in splits:
        scored = [entry for entry in entries if entry.scores.get("split") == split and entry.classes]
        own = next((entry for entry in scored if entry.slot == 0), None)
        if own is None:
            continue
        alike = [entry for entry in scored if list(entry.classes) == list(own.classes)]
        content = [_class_bars(own, alike, split), _class_table(own, alike)]
        others = [entry for entry in scored if entry not in alike]
        content += [note(entry.name, " has other classes and is left out here.") for entry in others]
        parts.append(fold(split, join(content), is_open=split == splits[0]))
    return join(parts) if parts else note("This run has no scores per class yet.")


def fold(title: str, content: Markup, *, is_open: bool) -> Markup:
    """Content under a title that can be folded away."""
    return element("details", element("summary", title), content, open="" if is_open else None)


def _by_truth(own: Entry) -> list[str]:
    """Class names, the smallest in the truth first, those that are not in it last."""
    sizes = {name: number(row.get("truth_pixels")) or 0 for name, row in own.classes.items()}
    return sorted(sizes, key=lambda name: (sizes[name] == 0, sizes[name]))


def _class_bars(own: Entry, entries: Sequence[Entry], split: str) -> Markup:
    names = _by_truth(own)
    figures = []
    for key, title, decimals in (("iou", "IoU per class, %", 1), ("fnr", "FNR per class (missed share)", 2)):
        bars = [
            Bars(entry.name, entry.slot, [number(entry.classes[name].get(key)) for name in names]) for entry in entries
        ]
        about = f"{title} on {split}, the class with the fewest pixels in the truth first; {len(bars)} masks compared."
        plot = bar_chart(names, bars, title=title, description=about, decimals=decimals, keys=False)
        figures.append(element("figure", element("figcaption", title), plot))
    said = note("Classes are ordered by their size in the truth, smallest on top: those are the first to vanish.")
    legend = keys([(entry.name, entry.slot) for entry in entries])
    return join([said, legend, element("div", *figures, class_="pair")])


def _class_table(own: Entry, entries: Sequence[Entry]) -> Markup:
    total = sum(number(row.get("truth_pixels")) or 0 for row in own.classes.values()) or 1
    several = len(entries) > 1
    head = ["class", "truth %", *("IoU %", "FPR", "FNR") * len(entries)]
    groups = [("", 2), *((join([swatch(entry.slot), entry.name]), 3) for entry in entries)] if several else []
    rows = []
    for name in _by_truth(own):
        share = 100 * (number(own.classes[name].get("truth_pixels")) or 0) / total
        rows.append([name, f"{share:.2f}", *_class_cells(name, entries)])
    drawn = table(head, rows, [False] + [True] * (len(head) - 1), groups)
    return fold("Numbers per class", drawn, is_open=len(rows) <= MANY and not several)


def _class_cells(name: str, entries: Sequence[Entry]) -> list[str]:
    ious = [percent(entry.classes[name].get("iou")) for entry in entries]
    best = max((number(entry.classes[name].get("iou")) or 0 for entry in entries), default=0)
    cells: list[str] = []
    for entry, iou in zip(entries, ious, strict=True):
        wins = len(entries) > 1 and iou == percent(best)
        cells += [element("b", iou) if wins else iou, *(ratio(entry.classes[name].get(key)) for key in ("fpr", "fnr"))]
    return cells


def confusion_section(run: Run) -> Markup:
    """The confusion matrix of every scored split, each row divided by the truth pixels of its class."""
    parts = []
    for split in run.splits:
        names = [str(row.get("name")) for row in run.scores[split].get("classes") or []]
        shares = row_shares(run.scores[split].get("confusion"), len(names))
        if shares is not None:
            parts.append(fold(split, _confusion(names, shares, split), is_open=split == run.splits[0]))
    return join(parts) if parts else note("This run has no confusion matrix yet.")


def row_shares(confusion: object, classes: int) -> np.ndarray | None:
    """(K,K) shares of each truth class; NaN rows where the truth has none. None unless it is a K x K matrix."""
    if not isinstance(confusion, list) or not classes or any(not isinstance(row, list) for row in confusion):
        return None
    if len(confusion) != classes or any(len(row) != classes for row in confusion):
        return None
    counts = np.array([[number(value) or 0.0 for value in row] for row in confusion])
    totals = counts.sum(axis=1, keepdims=True)
    return np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)


def _confusion(names: Sequence[str], shares: np.ndarray, split: str) -> Markup:
    about = "Rows are classes of the truth, columns what was predicted, in percent of the pixels of the row."
    plot = heat_map(names, shares.tolist(), title=f"Confusion matrix, {split}", description=about)
    wrong = [
        (shares[row, column], names[row], names[column]) for row, column in np.argwhere(shares >= 0.01) if row != column
    ]
    listed = [
        element("li", element("b", f"{percent(100 * share)} %"), f" of {truth} is taken for {seen}")
        for share, truth, seen in sorted(wrong, key=lambda entry: (-entry[0], *entry[1:]))[:MISTAKES]
    ]
    common = join([element("h3", "Most common mistakes"), element("ol", *listed, class_="mistakes")])
    figure = element("div", plot, class_="scroll", tabindex="0")
    return join([note(about), element("div", figure, element("div", common) if listed else "", class_="matrix")])


def tau_section(runs: Sequence[Run]) -> Markup | None:
    """Scores over tau, if at least two runs with different tau agree in everything else; else None."""
    own = [runs[0].record.get(key) for key in SAME_BUT_TAU]
    alike = [run for run in runs if [run.record.get(key) for key in SAME_BUT_TAU] == own]
    figures = []
    for key, label in (("miou", "mIoU, %"), ("mfpr", "mFPR"), ("mfnr", "mFNR")):
        pairs = [(number(run.record.get("tau")), number(run.scores.get(MAIN_SPLIT, {}).get(key))) for run in alike]
        points = sorted((tau, value) for tau, value in pairs if tau is not None and value is not None)
        if len({tau for tau, _ in points}) < 2:
            continue
        about = f"{label} on {MAIN_SPLIT} of runs that differ only in tau."
        plot = line_chart([Line(label, 0, points)], title=label, description=about, x_label="tau", keys=False)
        figures.append(element("figure", element("figcaption", label), plot))
    said = note(f"Scores on {MAIN_SPLIT} of the compared runs that differ from this one only in tau.")
    return join([said, element("div", *figures, class_="grid")]) if figures else None
