"""Where the curves go: always metrics.csv in the run folder, wandb beside it where that is wanted."""

import logging
from importlib import import_module
from pathlib import Path

from pytorch_lightning.loggers import Logger, WandbLogger

from dhr.disk.layout import RunFolder
from dhr.training.curves import Curves
from dhr.training.wandb_account import wandb_mode

log = logging.getLogger("dhr.train")


def make_loggers(run: RunFolder, *, name: str, project: str | None, entity: str | None, mode: str) -> list[Logger]:
    """The CSV logger, and wandb with `name` "wandb"; what wandb cannot do is said and does not stop the run.

    Args:
        run: folder of the run.
        name: "csv" or "wandb".
        project: of wandb.
        entity: of wandb, None for the account's own.
        mode: see `wandb_mode`.
    """
    loggers: list[Logger] = [Curves(run)]
    if name != "wandb" or mode == "disabled":
        return loggers
    try:
        its_error: type[Exception] = import_module("wandb.errors").Error  # here: a run without wandb does not need it
    except ImportError as error:
        log.warning(f"logger=wandb: {error}; pip install wandb, or logger=csv; the curves are in {run.metrics}")
        return loggers
    try:
        if (meant := wandb_mode(mode)) != "disabled":
            loggers.append(_wandb(run.root, project=project, entity=entity, mode=meant))
    except (its_error, OSError, ValueError) as error:
        log.warning(f"logger=wandb: cannot start ({' '.join(str(error).split())}); the curves are in {run.metrics}")
    return loggers


def _wandb(folder: Path, *, project: str | None, entity: str | None, mode: str) -> WandbLogger:
    logger = WandbLogger(
        name=folder.name, save_dir=folder, project=project, entity=entity, offline=mode == "offline", log_model=False
    )
    logger.experiment  # noqa: B018 - connects now, where a failure can still be survived
    return logger
