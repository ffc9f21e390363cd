"""Loggers of a training: always metrics.csv in the run folder, and wandb where it is configured."""

import logging
from importlib import import_module

from pytorch_lightning.loggers import Logger, WandbLogger

from dhr.disk.layout import RunFolder
from dhr.training.curves import Curves
from dhr.training.wandb_account import wandb_mode

log = logging.getLogger("dhr.train")


def make_loggers(run: RunFolder, *, name: str, project: str | None, entity: str | None, mode: str) -> list[Logger]:
    """The CSV logger, and wandb's if `name` is "wandb"; if wandb cannot start, a warning is logged and the run goes on.

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
        wandb_error: type[Exception] = import_module("wandb.errors").Error  # here: wandb need not be installed
    except ImportError as error:
        log.warning(f"logger=wandb: {error}; pip install wandb, or logger=csv; the curves are in {run.metrics}")
        return loggers
    try:
        if (resolved := wandb_mode(mode)) != "disabled":
            offline = resolved == "offline"
            logger = WandbLogger(
                name=run.root.name, save_dir=run.root, project=project, entity=entity, offline=offline, log_model=False
            )
            logger.experiment  # noqa: B018 - connects now, where a failure does not stop the run
            loggers.append(logger)
    except (wandb_error, OSError, ValueError) as error:
        log.warning(f"logger=wandb: cannot start ({' '.join(str(error).split())}); the curves are in {run.metrics}")
    return loggers
