"""`python -m dhr.doctor`: versions, GPU, optional parts, data and weights found; the command that cures each lack."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from dhr.config.command import verb
from dhr.config.compose import compose
from dhr.config.tree import options

if TYPE_CHECKING:
    from rich.table import Table

    from dhr.installation import Finding


@verb("doctor")
def main(cfg: DictConfig) -> None:
    """Shows the state of this machine."""
    # Imported here: --help and --cfg job must not wait for it.
    from rich.console import Console

    from dhr.installation import Place, findings

    datasets = {name: compose("prepare", [f"dataset={name}"]).dataset for name in options("dataset")}
    places = {
        name: Place(
            name, each.folder, each.classes, (each.splits.train, each.splits.validation), each.generate is not None
        )
        for name, each in datasets.items()
    }
    Console().print(table_of(findings(Path(cfg.paths.data), Path(cfg.paths.weights), places)))


def table_of(rows: "Iterable[Finding]") -> "Table":
    """One row for every finding, nothing cut and nothing taken for markup."""
    from rich.table import Column, Table
    from rich.text import Text

    table = Table(*(Column(head, overflow="fold") for head in ("group", "item", "state", "found", "cure")))
    colours = {"ok": "green", "missing": "red", "optional": "yellow"}
    for row in rows:
        state = Text(row.state, style=colours[row.state])
        table.add_row(Text(row.group), Text(row.name), state, Text(row.found), Text(row.cure))
    return table


if __name__ == "__main__":
    main()
