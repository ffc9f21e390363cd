"""The folder that one training of a USS head leaves behind, and what must not be mixed in it."""

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from dhr.artifacts import RunFolder, read_json, update_record, write_atomically
from dhr.errors import InputError


def folder_of(cfg: DictConfig) -> RunFolder:
    """<outputs>/<dataset>/uss/<NAME>/, the name being that of the method unless `name` says another."""
    return RunFolder(Path(cfg.paths.outputs) / cfg.dataset.name / "uss" / (cfg.name or cfg.uss.name.upper()))


def is_finished(run: RunFolder) -> bool:
    """Whether the training came to its end."""
    return run.record.exists() and read_json(run.record).get("status") == "finished"


@rank_zero_only
def refuse_other(run: RunFolder, weights: Path, cfg: DictConfig) -> None:
    """Only the first process asks: the others find the folder that it has just made.

    Raises:
        InputError: the folder holds a training and nobody asked to continue or replace it, or its settings are
            others, or the weights are there and come from elsewhere.
    """
    if cfg.overwrite:
        return
    if not run.record.exists():
        if weights.exists():
            raise InputError(
                f"uss.weights: {weights}: there already, and not from {run.root}; uss.weights=<file> writes another "
                "file, overwrite=true replaces this one"
            )
        return
    if not cfg.resume:
        raise InputError(
            f"{run.root}: holds a training of uss={cfg.uss.name}; continue it with resume=true, make it anew with "
            "overwrite=true, or choose another name= and uss.weights="
        )
    if not run.config.is_file() or run.config.read_text() != _stored(cfg):
        raise InputError(f"resume=true: {run.config} has other settings; give the same, or choose another name")


@rank_zero_only
def open_folder(run: RunFolder, cfg: DictConfig) -> None:
    """Makes the folder, after the old one is gone where it is to be replaced, and says that a training runs in it."""
    if cfg.overwrite:
        shutil.rmtree(run.root, ignore_errors=True)
    write_atomically(run.config, _stored(cfg).encode())
    update_record(run.record, {"dataset": cfg.dataset.name, "uss": cfg.uss.name, "status": "running"})


@rank_zero_only
def close_folder(run: RunFolder, values: Mapping[str, object]) -> None:
    """Says that the training has come to its end, and how."""
    update_record(run.record, {**values, "command": command(), "status": "finished"})


def command() -> str:
    """What was typed."""
    return " ".join(["python -m dhr.train_uss", *sys.argv[1:]])


def _stored(cfg: DictConfig) -> str:
    """The configuration as it is stored; how the command was called this time is no part of it."""
    values = OmegaConf.to_container(cfg, resolve=True)
    called = {"resume": False, "overwrite": False, "debug": False}
    return OmegaConf.to_yaml(OmegaConf.create({**values, **called}))  # type: ignore[dict-item]
