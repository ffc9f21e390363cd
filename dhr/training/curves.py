"""metrics.csv of a run: written row by row, read without incomplete lines, joined after interruptions."""

import csv
import logging
from collections.abc import Iterator
from pathlib import Path

from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from dhr.disk.atomic import write_atomically
from dhr.disk.layout import RunFolder
from dhr.disk.writing import writing

log = logging.getLogger("dhr.train")


class Curves(CSVLogger):
    """Lightning's CSV logger in the run folder, whose errors name the file and a cure."""

    def __init__(self, run: RunFolder) -> None:
        set_aside(run.metrics)
        super().__init__(run.root, name="", version="", flush_logs_every_n_steps=50)
        self.path = run.metrics

    @rank_zero_only
    def save(self) -> None:
        """Appends what was logged since the last call.

        Raises:
            UnwritableError: the disk does not take it.
        """
        with writing(self.path):
            super().save()


@rank_zero_only
def set_aside(metrics: Path) -> None:
    """Renames the curves of an interrupted run, which Lightning's CSV logger would delete."""
    if metrics.exists():
        number = max((int(path.suffixes[0][1:]) for path in _parts(metrics)), default=0) + 1
        metrics.rename(metrics.with_name(f"metrics.{number}.csv"))


def join_metrics(metrics: Path) -> None:
    """Joins the curves of all parts of an interrupted run into one file, in their order.

    Steps after the last checkpoint were made twice; the rows of the later part count.
    """
    parts = _parts(metrics)
    if not parts:
        return
    rows = [row for path in (*parts, metrics) if path.exists() for row in rows_of(path)]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    last = {(row["step"], *(key for key in columns if row.get(key))): row for row in rows}
    lines = [columns, *([row.get(key, "") for key in columns] for row in last.values())]
    write_atomically(metrics, "".join(",".join(line) + "\n" for line in lines).encode())
    for path in parts:
        path.unlink()


def rows_of(path: Path) -> Iterator[dict[str, str]]:
    """Rows of curves, column name to text; lines that a crash left incomplete are skipped, with a warning.

    A row is whole if it has a cell for every column, a whole number as its step, and nothing but numbers elsewhere.
    """
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        columns, torn = next(csv.reader([next(file, "")]), []), 0
        for line in file:
            cells = next(csv.reader([line.replace("\0", "")]), [])
            row = dict(zip(columns, cells, strict=False))
            whole = line.endswith("\n") and len(cells) == len(columns) and row.get("step", "").isdecimal()
            if whole and _are_numbers(cells):
                yield row
            else:
                torn += bool(line.strip())
    if torn:
        log.warning(f"{path}: {torn} torn lines, of a crash, are left out")


def _are_numbers(cells: list[str]) -> bool:
    try:
        return all(not cell or float(cell) is not None for cell in cells)
    except ValueError:
        return False


def _parts(metrics: Path) -> list[Path]:
    """Curves that were set aside, in their order."""
    paths = [path for path in metrics.parent.glob("metrics.*.csv") if path.suffixes[0][1:].isdecimal()]
    return sorted(paths, key=lambda path: int(path.suffixes[0][1:]))
