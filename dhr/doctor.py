"""`python -m dhr.doctor`: versions, GPU, optional parts, data and weights found; the command that cures each lack."""

from pathlib import Path

from omegaconf import DictConfig

from dhr.config.command import verb
from dhr.config.compose import compose
from dhr.config.tree import options


@verb("doctor")
def main(cfg: DictConfig) -> None:
    """Shows the state of this machine."""
    # Imported here: --help and --cfg job must not wait for it.
    from rich.console import Console
    from rich.table import Table

    from dhr.installation import Place, findings

    datasets = {name: compose("prepare", [f"dataset={name}"]).dataset for name in options("dataset")}
    places = {
        name: Place(
            name, each.folder, each.classes, (each.splits.train, each.splits.validation), each.generate is not None
        )
        for name, each in datasets.items()
    }
    table = Table("group", "item", "state", "found", "cure", show_lines=False)
    colours = {"ok": "green", "missing": "red", "optional": "yellow"}
    for row in findings(Path(cfg.paths.data), Path(cfg.paths.weights), places):
        table.add_row(row.group, row.name, f"[{colours[row.state]}]{row.state}[/]", row.found, row.cure)
    Console().print(table)


if __name__ == "__main__":
    main()
