"""The folder of one training of a USS head: which settings may continue it, its record, and how it is replaced."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from omegaconf import DictConfig
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from dhr.config.command import command_line
from dhr.config.stored import stored_text
from dhr.core.errors import InputError
from dhr.disk.atomic import update_record, write_atomically
from dhr.disk.layout import RunFolder
from dhr.stage.run_folder import refuse_unasked


def folder_of(cfg: DictConfig) -> RunFolder:
    """<outputs>/<dataset>/uss/<NAME>/; NAME is `name` if that is set, else the method in capital letters."""
    return RunFolder(Path(cfg.paths.outputs) / cfg.dataset.name / "uss" / (cfg.name or cfg.uss.name.upper()))


@rank_zero_only
def refuse_other(run: RunFolder, weights: Path, cfg: DictConfig) -> None:
    """Refuses a folder that this training must not write to; only the first process, which makes the folder, checks.

    Raises:
        InputError: the folder holds a training and neither `resume` nor `overwrite` is set, or its settings are
            others, or the weights exist and come from elsewhere, or resume=true and there is no training to continue.
    """
    if cfg.overwrite:
        return
    cure = (
        f"{run.root}: holds a training of uss={cfg.uss.name}; continue it with resume=true, make it anew with "
        "overwrite=true, or choose another name= and uss.weights="
    )
    refuse_unasked(run, cfg, "training", cure)
    if weights.exists() and not run.record.exists():
        raise InputError(
            f"uss.weights: {weights}: there already, and not from {run.root}; uss.weights=<file> writes another "
            "file, overwrite=true replaces this one"
        )


@rank_zero_only
def open_folder(run: RunFolder, cfg: DictConfig) -> None:
    """Makes the folder with its configuration and record; a training to be replaced is kept until this one is done."""
    if cfg.overwrite and run.root.exists():
        if replaced(run).exists():
            shutil.rmtree(run.root)  # an unfinished training that was to replace the one kept
        else:
            run.root.rename(replaced(run))
    write_atomically(run.config, stored_text(cfg).encode())
    update_record(run.record, {"dataset": cfg.dataset.name, "uss": cfg.uss.name, "status": "running"})


@rank_zero_only
def close_folder(run: RunFolder, values: Mapping[str, object]) -> None:
    """Records the training as finished, with `values`, and removes the training that it replaces."""
    update_record(run.record, {**values, "command": command_line("train_uss"), "status": "finished"})
    shutil.rmtree(replaced(run), ignore_errors=True)


def replaced(run: RunFolder) -> Path:
    """Where a training is kept while another one is to replace it."""
    return run.root.with_name(f".{run.root.name}.replaced")
