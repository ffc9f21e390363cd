"""What a report knows of a run: its record, curves, scores and configuration, read from the run folder."""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from dhr.config.provenance import SAW, UNKNOWN, joined
from dhr.core.errors import InputError
from dhr.core.words import word
from dhr.dataset.classes import ClassTable, classes_of
from dhr.disk.atomic import read_object
from dhr.disk.layout import DataLayout, RunFolder
from dhr.disk.run_record import RunRecord
from dhr.page.line_chart import Point

MAIN_SPLIT = "validation"  # shown first where it was scored


@dataclass(frozen=True)
class Run:
    """One run of a report.

    Attributes:
        name: what it is called in tables and legends.
        slot: its colour in every plot; 0 is the run the report is about.
        record: run.json, empty where there is none.
        curves: metric name to points (step, value); values may be NaN or infinite.
        scores: split to scores/<split>.json.
    """

    name: str
    slot: int
    folder: RunFolder
    record: Mapping[str, Any]
    curves: Mapping[str, Sequence[Point]]
    scores: Mapping[str, Mapping[str, Any]]

    @property
    def splits(self) -> list[str]:
        """The scored splits, the main one first."""
        return sorted(self.scores, key=lambda split: (split != MAIN_SPLIT, split))

    @property
    def saw(self) -> str:
        """Letters of what its weights, its given masks and its features saw; UNKNOWN where the record is silent."""
        told = self.record.get(SAW)
        return joined(told.values()) if told else UNKNOWN

    def saw_of(self, part: str) -> str:
        """Letters of what one of them saw: backbone, wss or uss."""
        return str((self.record.get(SAW) or {}).get(part, UNKNOWN))


def open_runs(run: Path, compare: Sequence[Path]) -> list[Run]:
    """Reads `run` and the runs to compare it with, each folder once.

    Raises:
        InputError: a folder is missing, or one of its JSON files is unreadable.
    """
    for path in (run, *compare):
        if not path.is_dir():
            raise InputError(f"{word('run', path)}: no such folder; give a folder that python -m dhr.train wrote")
    paths = {path.resolve(): path for path in reversed((run, *compare))}
    roots = list(dict.fromkeys(path.resolve() for path in (run, *compare)))
    runs = []
    for slot, root in enumerate(roots):
        folder = RunFolder(paths[root])
        record = RunRecord.read(folder.record).entries if folder.record.exists() else {}
        scores = {path.stem: read_object(path) for path in sorted(folder.scores("x").parent.glob("*.json"))}
        runs.append(Run(_name(root, roots), slot, folder, record, read_curves(folder.metrics), scores))
    return runs


def _name(root: Path, roots: Sequence[Path]) -> str:
    """The folder's name, with as many parents as it takes to tell it from the others."""
    parts = root.parts
    others = [other.parts for other in roots if other != root]
    depths = range(1, len(parts) + 1)
    depth = next((depth for depth in depths if all(other[-depth:] != parts[-depth:] for other in others)), len(parts))
    return "/".join(parts[-depth:])


def read_curves(path: Path) -> dict[str, list[Point]]:
    """Reads metrics.csv: every column but epoch and step as points over the steps, or the epochs of rows without one.

    Cells that are empty or no number are left out, so sparse rows become dense curves. Missing file: no curves.
    """
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        rows = list(csv.DictReader(file))
    names = dict.fromkeys(str(name) for row in rows for name in row if name not in ("epoch", "step", None))
    steps = [_number(row.get("step") or row.get("epoch")) for row in rows]
    curves = {}
    for name in names:
        values = [_number(row.get(name)) for row in rows]
        points = zip(steps, values, strict=True)
        curves[name] = sorted((x, y) for x, y in points if x is not None and math.isfinite(x) and y is not None)
    return {name: points for name, points in curves.items() if points}


def _number(cell: object) -> float | None:
    try:
        return float(str(cell))
    except ValueError:
        return None


@dataclass(frozen=True)
class RunData:
    """The data set of a run: its classes, and the paths of its files, which may be missing on this machine."""

    classes: ClassTable
    layout: DataLayout
    splits: tuple[str, ...]

    def tags(self, image_id: str) -> Path | None:
        """The annotation of an image in any split of the run; None where there is none."""
        return next((path for split in self.splits if (path := self.layout.tags(split, image_id)).is_file()), None)


def open_data(folder: RunFolder, data: Path | None = None) -> RunData | None:
    """Reads which data a run used from its config.yaml; None where that file is missing or says nothing of data.

    Args:
        folder: of the run.
        data: where data sets lie now; None: where they lay when the run was trained.

    Raises:
        InputError: config.yaml is unreadable, or names an unknown class table.
    """
    try:
        stored = yaml.safe_load(folder.config.read_text("utf-8")) if folder.config.exists() else {}
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{folder.config}: unreadable ({reason}); restore the file from the run") from None
    paths, dataset = (_group(stored, key) for key in ("paths", "dataset"))
    root, name, table = paths.get("data"), dataset.get("folder"), dataset.get("classes")
    if not (root and name and table):
        return None
    layout = DataLayout(Path(str(root)) if data is None else data, str(name))
    splits = tuple(str(split) for split in _group(dataset, "splits").values())
    return RunData(classes_of(layout.home, str(table)), layout, splits)


def _group(settings: object, key: str) -> Mapping[str, Any]:
    """A group of settings, empty where there is none."""
    group = settings.get(key) if isinstance(settings, Mapping) else None
    return group if isinstance(group, Mapping) else {}
