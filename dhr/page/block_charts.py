"""IoU per class and confusion matrices as drawings of rectangles and texts; `block_plot` in svg.html.j2 draws them."""

from collections.abc import Sequence
from dataclasses import dataclass

from dhr.evaluation.tables import number, percent
from dhr.page.line_chart import LETTER
from dhr.page.render import paint
from dhr.page.scores import Confusion, SplitClasses

WIDTH = 360.0  # of a chart of bars, as of the line charts
BAR, GAP = 9.0, 6.0  # height of a bar, and between two classes
HIT, MISS = paint(0), paint(1)  # colours of a confusion matrix, as on the page

Block = tuple[float, float, float, float, str, float]
Text = tuple[float, float, str, str, bool]


@dataclass(frozen=True)
class BlockChart:
    """Rectangles (x, y, width, height, colour, opacity) and texts (x, y, anchor, text, turned) in SVG units."""

    title: str
    description: str
    width: float
    height: float
    letters: float
    blocks: Sequence[Block]
    texts: Sequence[Text]
    legend: Sequence[tuple[str, int | None]] = ()
    dashed: bool = False


def bars_of(part: SplitClasses) -> BlockChart:
    """The IoU of every class: a group of bars each, in the order of the table on the page."""
    several = len(part.entries)
    left = 8 + LETTER * max(len(row.name) for row in part.rows)
    full = WIDTH - left - 40
    blocks: list[Block] = []
    texts: list[Text] = []
    top = 4.0
    for row in part.rows:
        texts.append((round(left - 6, 1), round(top + several * BAR / 2 + 4, 1), "end", row.name, False))
        for entry, scores in zip(part.entries, row.scores, strict=True):
            value = number(scores.get("iou"))
            length = round(full * min(max(value or 0.0, 0.0), 100.0) / 100, 1)
            blocks.append((round(left, 1), top, max(length, 0.5), BAR - 1, paint(entry.slot), 1))
            texts.append((round(left + length + 4, 1), top + BAR - 1, "start", percent(value), False))
            top += BAR
        top += GAP
    legend = [(entry.name, entry.slot) for entry in part.entries]
    description = "The smallest class in the truth is on top."
    return BlockChart(f"IoU per class, {part.split}, %", description, WIDTH, top, 9, blocks, texts, legend)


def matrix_of(confusion: Confusion) -> BlockChart:
    """The confusion matrix in percent of the pixels of each row."""
    names, cell = confusion.names, confusion.cell
    letters = round(min(10.0, cell * 0.62), 1)
    margin = round(10 + letters * 0.62 * max(len(name) for name in names), 1)
    blocks: list[Block] = []
    texts: list[Text] = []
    for row, truth in enumerate(names):
        middle = round(margin + (row + 0.5) * cell, 1)
        texts.append((margin - 5, round(middle + letters / 3, 1), "end", truth, False))
        texts.append((round(middle + letters / 3, 1), margin - 5, "start", truth, True))
        for column, share in enumerate(confusion.shares[row]):
            if not share >= 0.005:  # also where the truth does not show the class
                continue
            x, y = round(margin + column * cell, 1), round(margin + row * cell, 1)
            fill = HIT if row == column else MISS
            blocks.append((x, y, round(cell - 1, 1), round(cell - 1, 1), fill, round(0.72 * share**0.5, 2)))
            if share >= 0.01 and cell >= 18:
                middle_of = (round(x + cell / 2 - 0.5, 1), round(y + cell / 2 + letters / 3, 1))
                texts.append((*middle_of, "middle", f"{100 * share:.0f}", False))
    side = round(margin + len(names) * cell + 4, 1)
    description = "Rows are classes of the truth, columns what was predicted, in percent of the pixels of the row."
    return BlockChart(f"Confusion, {confusion.split}, %", description, side, side, letters, blocks, texts)
