"""Where the curves go: always metrics.csv in the run folder, wandb beside it where that is wanted."""

import csv
import logging
import os
from pathlib import Path

import wandb
from pytorch_lightning.loggers import CSVLogger, Logger, WandbLogger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from dhr.artifacts import RunFolder, write_atomically

log = logging.getLogger("dhr.train")


def make_loggers(run: RunFolder, *, name: str, project: str | None, entity: str | None, mode: str) -> list[Logger]:
    """The CSV logger, and wandb with `name` "wandb"; what wandb cannot do is said and does not stop the run.

    Args:
        run: folder of the run.
        name: "csv" or "wandb".
        project: of wandb.
        entity: of wandb, None for the account's own.
        mode: "auto" is online where an API key is set, else offline.
    """
    set_aside(run.metrics)
    loggers: list[Logger] = [CSVLogger(run.root, name="", version="", flush_logs_every_n_steps=50)]
    if name == "wandb" and mode != "disabled":
        wanted = "online" if os.environ.get("WANDB_API_KEY") else "offline"
        try:
            loggers.append(_wandb(run.root, project=project, entity=entity, mode=wanted if mode == "auto" else mode))
        except (wandb.errors.Error, OSError) as error:
            log.warning(f"logger=wandb: cannot start ({error}); the curves are in {run.metrics}")
    return loggers


def _wandb(folder: Path, *, project: str | None, entity: str | None, mode: str) -> WandbLogger:
    logger = WandbLogger(
        name=folder.name, save_dir=folder, project=project, entity=entity, offline=mode == "offline", log_model=False
    )
    logger.experiment  # noqa: B018 - connects now, where a failure can still be survived
    return logger


@rank_zero_only
def set_aside(metrics: Path) -> None:
    """Renames the curves of an interrupted run, which Lightning's CSV logger would delete."""
    if metrics.exists():
        number = len(list(metrics.parent.glob("metrics.*.csv"))) + 1
        metrics.rename(metrics.with_name(f"metrics.{number}.csv"))


def join_metrics(metrics: Path) -> None:
    """Joins the curves of all parts of an interrupted run into one file, in their order.

    Steps after the last checkpoint were made twice; what the later part says of them counts.
    """
    parts = sorted(metrics.parent.glob("metrics.*.csv"), key=lambda path: int(path.suffixes[0][1:]))
    if not parts:
        return
    rows = [row for path in (*parts, metrics) if path.exists() for row in csv.DictReader(path.open(newline=""))]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    last = {(row["step"], *(key for key in columns if row.get(key))): row for row in rows}
    lines = [columns, *([row.get(key, "") for key in columns] for row in last.values())]
    write_atomically(metrics, "".join(",".join(line) + "\n" for line in lines).encode())
    for path in parts:
        path.unlink()
