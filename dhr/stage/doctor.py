"""`dhr.doctor`: the state of this machine as a table."""

from collections.abc import Iterable
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from dhr.config.command import WRONG_CONFIG
from dhr.config.compose import compose
from dhr.config.overrides import explain
from dhr.config.own import own_file, own_options
from dhr.config.own_images import FORM
from dhr.config.tree import options
from dhr.stage.installation import DoctorRow, Place, findings


def doctor(cfg: DictConfig) -> None:
    """Shows versions, GPU, optional parts, data and weights, and a command for everything that is missing."""
    places, broken = {}, []
    for name in [*options("dataset"), *own_options(cfg.paths.data, "dataset")]:
        try:
            dataset = compose("audit", [f"paths.data={cfg.paths.data}", f"dataset={name}"]).dataset
        except WRONG_CONFIG as error:  # a file of the user's
            cure = f"correct {own_file(cfg.paths.data, 'dataset', name)}"
            broken.append(DoctorRow(name, "settings", "missing", explain(error), cure))
            continue
        splits = (dataset.splits.train, dataset.splits.validation)
        if dataset.folder != FORM:
            places[name] = Place(name, dataset.folder, dataset.classes, splits, dataset.generate is not None)
    rows = findings(Path(cfg.paths.data), Path(cfg.paths.weights), places)
    Console().print(table_of([*rows, *broken]))


def table_of(rows: Iterable[DoctorRow]) -> Table:
    """One row for every finding; long texts are wrapped, and no text is read as markup."""
    table = Table(*(Column(head, overflow="fold") for head in ("group", "item", "state", "found", "cure")))
    colours = {"ok": "green", "missing": "red", "optional": "yellow"}
    for row in rows:
        state = Text(row.state, style=colours[row.state])
        table.add_row(Text(row.group), Text(row.name), state, Text(row.found), Text(row.cure))
    return table
