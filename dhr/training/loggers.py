"""Loggers of a training: always metrics.csv in the run folder, and wandb where it is configured."""

import logging
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from pytorch_lightning.loggers import Logger

from dhr.disk.layout import RunFolder
from dhr.training.curves import Curves
from dhr.training.wandb_board import Board

log = logging.getLogger("dhr.train")


def make_loggers(
    run: RunFolder, config: Mapping[str, Any], *, name: str, project: str | None, entity: str | None, mode: str,
    group: str | None, tags: Sequence[str] | None,
) -> list[Logger]:  # fmt: skip
    """The CSV logger, and wandb's if `name` is "wandb"; if wandb cannot start, a warning is logged and the run goes on.

    Args:
        run: folder of the run.
        config: all of its configuration, shown in wandb.
        name: "csv" or "wandb".
        project: of wandb.
        entity: of wandb, None for the account's own.
        mode: see `wandb_mode`.
        group: of wandb, in which the run is listed.
        tags: of wandb, by which it is found, None for none.
    """
    loggers: list[Logger] = [Curves(run)]
    if name != "wandb" or mode == "disabled":
        return loggers
    try:
        import_module("wandb")  # here: it need not be installed
    except ImportError as error:
        log.warning(f"logger=wandb: {error}; pip install wandb, or logger=csv; the curves are in {run.metrics}")
        return loggers
    board = Board(run, config, project=project, entity=entity, mode=mode, group=group, tags=tags)
    return [*loggers, board] if board.start() else loggers
