"""What run.json records of how a run was made."""

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

from omegaconf import DictConfig

from dhr.config.command import command_line
from dhr.config.provenance import provenance
from dhr.config.stored import refuse_other_settings
from dhr.core.errors import InputError
from dhr.dataset.classes import ClassTable
from dhr.dataset.split import Split
from dhr.disk.atomic import update_record
from dhr.disk.layout import RunFolder
from dhr.disk.manifest import NAME
from dhr.disk.run_record import RunRecord
from dhr.runtime.signals import Stopped
from dhr.training.fitting import is_first_process

PACKAGES = ("torch", "torchvision", "pytorch-lightning", "timm", "torchmetrics", "hydra-core", "numpy")


def describe(cfg: DictConfig, table: ClassTable) -> dict[str, object]:
    """The entries of run.json that are known before the first step; `table` says what the labels mean."""
    choices = cfg.choices
    return {
        "command": command_line("train"),
        "dataset": cfg.dataset.name,
        "classes": list(table.names),
        "wss": cfg.wss.name,
        "uss": cfg.uss.name,
        "rebalancing": choices.get("rebalancing"),
        "label_maker": choices.get("label_maker"),
        "refresh": choices.get("refresh"),
        "features": choices.get("features"),
        "backbone": choices.get("backbone"),
        "decoder": choices.get("decoder"),
        **provenance(cfg),
        "start": cfg.backbone.get("weights") or "random",
        "seed": cfg.seed,
        "tau": cfg.tau,
        "max_epochs": cfg.trainer.max_epochs,
        "versions": {name: version(name) for name in PACKAGES},
    }


def data_mark(split: Split) -> str | None:
    """Digest of the manifest of a split; None where it has none."""
    manifest = split.layout.split(split.name) / NAME
    if not manifest.is_file():
        return None
    with manifest.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


@contextmanager
def recorded(run: RunFolder) -> Iterator[None]:
    """Adds the seconds of this block to those of earlier parts of the run, and records whether it stopped or failed."""
    start, status = time.monotonic(), "failed"
    try:
        yield
        status = "running"  # until the results are recorded
    except Stopped:
        status = "stopped"
        raise
    finally:
        seconds = time.monotonic() - start
        if is_first_process():
            update_record(run.record, {"seconds": RunRecord.read(run.record).seconds + seconds, "status": status})


def refuse_unasked(run: RunFolder, cfg: DictConfig, kind: str, held: str) -> None:
    """Makes sure that a training begins, or goes on, only where that was asked for.

    Args:
        run: its folder.
        cfg: of the training that is to write to it.
        kind: what such a folder holds, for messages.
        held: message where it holds one and `resume` does not ask to continue it.

    Raises:
        InputError: so; or resume=true and there is none to continue; or its settings are others.
    """
    if not run.record.exists():
        if cfg.resume is True:
            raise InputError(f"resume=true: {run.root} holds no {kind}; resume=auto begins one where there is none")
    elif not cfg.resume:
        raise InputError(held)
    else:
        refuse_other_settings(run, cfg)
