"""The configuration that a run keeps of itself, checked again when it is read: a file may have been made elsewhere."""

from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from omegaconf import DictConfig, OmegaConf

from dhr.artifacts import RunFolder
from dhr.config.check import check, with_defaults
from dhr.config.schema import Train
from dhr.errors import InputError

LONGEST = 1_000_000  # bytes; ours have some thousand


def load_run_config(run: Path) -> DictConfig:
    """The configuration stored in a run folder.

    Raises:
        InputError: the folder is not a run, or its configuration does not pass check 1.
    """
    path = RunFolder(run).config
    values = _read(run, path)
    try:
        check(values, Train)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    stored = OmegaConf.create(with_defaults(values, Train))  # a run may be older than a key
    OmegaConf.set_struct(stored, True)
    return stored


def stored_text(cfg: DictConfig) -> str:
    """The configuration as a run keeps it; how the command was called this time is no part of it."""
    values: Any = OmegaConf.to_container(cfg, resolve=True)
    called = {"resume": False, "debug": False, **({"overwrite": False} if "overwrite" in values else {})}
    return OmegaConf.to_yaml(OmegaConf.create({**values, **called}))


def refuse_other_settings(run: RunFolder, cfg: DictConfig) -> None:
    """Makes sure that the run to be continued is this one.

    Raises:
        InputError: its settings are others.
    """
    if not run.config.is_file() or run.config.read_text() != stored_text(cfg):
        raise InputError(f"resume=true: {run.config} has other settings; give the same, or choose another name")


def _read(run: Path, path: Path) -> dict[str, Any]:
    if not path.is_file():
        found = sorted(str(each.parent) for each in run.parent.glob("*/config.yaml"))
        cure = f"runs beside it: {', '.join(found)}" if found else "use run=<outputs>/<dataset>/runs/<name>"
        raise InputError(f"run: {run}: not the folder of a run, it has no config.yaml; {cure}")
    if path.stat().st_size > LONGEST:
        raise InputError(f"{path}: {path.stat().st_size} bytes: too long for a configuration; train the run again")
    text = path.read_text(errors="replace")
    try:
        # Anchors could blow a small file up to any size; interpolations could read the environment. We write neither.
        anchored = any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader))
        values = None if anchored or "${" in text else OmegaConf.to_container(OmegaConf.create(text))
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not readable as YAML ({type(error).__name__}); train the run again") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: not a configuration of plain keys and values; train the run again")
    return {str(key): value for key, value in values.items()}
