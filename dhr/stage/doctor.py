"""`dhr.doctor`: the state of this machine as a table."""

from collections.abc import Iterable
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from dhr.config.compose import compose
from dhr.config.tree import options
from dhr.stage.installation import DoctorRow, Place, findings


def doctor(cfg: DictConfig) -> None:
    """Shows versions, GPU, optional parts, data and weights, and a command for everything that is missing."""
    datasets = {name: compose("prepare", [f"dataset={name}"]).dataset for name in options("dataset")}
    places = {
        name: Place(
            name,
            dataset.folder,
            dataset.classes,
            (dataset.splits.train, dataset.splits.validation),
            dataset.generate is not None,
        )
        for name, dataset in datasets.items()
    }
    Console().print(table_of(findings(Path(cfg.paths.data), Path(cfg.paths.weights), places)))


def table_of(rows: Iterable[DoctorRow]) -> Table:
    """One row for every finding; long texts are wrapped, and no text is read as markup."""
    table = Table(*(Column(head, overflow="fold") for head in ("group", "item", "state", "found", "cure")))
    colours = {"ok": "green", "missing": "red", "optional": "yellow"}
    for row in rows:
        state = Text(row.state, style=colours[row.state])
        table.add_row(Text(row.group), Text(row.name), state, Text(row.found), Text(row.cure))
    return table
