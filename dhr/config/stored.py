"""The configuration that a run keeps of itself, checked again when it is read: a file may have been made elsewhere."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dhr.config.check import check, shown
from dhr.config.parts import without_saw
from dhr.config.plain_yaml import LONGEST, is_plain
from dhr.config.schema import Common, Train, TrainUss
from dhr.config.signatures import with_part_defaults
from dhr.config.walk import changed, leaves
from dhr.core.errors import InputError
from dhr.core.words import word
from dhr.disk.layout import RunFolder

SHOWN = 5  # differing keys named in one message
HOW = (  # how a run is made, where and what is watched meanwhile; none of it changes what is learnt but by rounding
    *("resume", "debug", "overwrite", "name", "paths", "logger", "choices", "dataset.workers", "dataset.download"),
    *("channels_last", "crf.workers", "wss.recipe", "wss.source", "dataset.test_scales"),
    *(
        f"trainer.{key}"
        for key in (
            *("accelerator", "devices", "num_nodes", "strategy", "enable_progress_bar", "enable_model_summary"),
            *("log_every_n_steps", "profiler", "detect_anomaly", "num_sanity_val_steps", "check_val_every_n_epoch"),
            *("val_check_interval", "limit_val_batches", "max_time"),
        )
    ),
)


MOVED = {  # where parts of stored trainings of USS heads stood once, and where they stand now
    "dhr.uss.training.cause.": "dhr.uss.cause.recipe.",
    "dhr.uss.training.correspondence.": "dhr.uss.stego.recipe.",
    "dhr.uss.training.settings.ClusterbookSettings": "dhr.uss.cause.settings.ClusterbookSettings",
    "dhr.uss.training.settings.HeadSettings": "dhr.uss.cause.settings.HeadSettings",
    "dhr.uss.training.settings.StegoSettings": "dhr.uss.stego.settings.StegoSettings",
    "dhr.uss.training.settings.Term": "dhr.uss.stego.settings.Term",
    "dhr.uss.training.views.": "dhr.uss.training.crops.",
}


def load_run_config(run: Path) -> DictConfig:
    """The configuration stored in a run folder.

    Raises:
        InputError: the folder is not a run, or its configuration does not pass check 1.
    """
    stored = OmegaConf.create(_checked(run, Train))
    OmegaConf.set_struct(stored, True)
    return stored


def stored_text(cfg: DictConfig) -> str:
    """The configuration as a run keeps it; how the command was called this time is no part of it."""
    values: Any = OmegaConf.to_container(cfg, resolve=True)
    called = {"resume": False, "debug": False, **({"overwrite": False} if "overwrite" in values else {})}
    return OmegaConf.to_yaml(OmegaConf.create({**values, **called}))


def refuse_other_settings(run: RunFolder, cfg: DictConfig) -> None:
    """Makes sure that the run to be continued is this one: all that changes its result has to be the same.

    Raises:
        InputError: names the keys that differ, with their values.
    """
    values: Any = OmegaConf.to_container(cfg, resolve=True)
    there, asked = (
        _what_counts(_checked(run.root, Train if "rebalancing" in values else TrainUss)),
        _what_counts(values),
    )
    differing = [key for key in sorted(there.keys() | asked.keys()) if there.get(key) != asked.get(key)]
    if differing:
        listed = [f"{key}={asked.get(key, 'null')} ({there.get(key, 'null')} there)" for key in differing[:SHOWN]]
        more = f" and {len(differing) - SHOWN} more" if len(differing) > SHOWN else ""
        raise InputError(
            f"resume={shown(cfg.resume)}: {run.config} has other settings: {', '.join(listed)}{more}; "
            "give the same, or choose another name"
        )


def _checked(run: Path, schema: type[Common]) -> dict[str, Any]:
    """What a run folder keeps, with defaults, as a run may be older than a key."""
    path = RunFolder(run).config
    values = _read(run, path)
    try:
        return check(values, schema)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _what_counts(values: Mapping[str, Any]) -> dict[str, str]:
    """Every key that can change the result, with its value; files are named from the folders that `paths` names."""
    roots = {root: f"<paths.{key}>" for key, root in values["paths"].items()}
    return {
        key: _placed(_text(value), roots)
        for key, value in leaves(with_part_defaults(without_saw(values)))  # a run may be older than a key of a part
        if not any(key == each or key.startswith(f"{each}.") for each in HOW)
    }


def _text(value: Any) -> str:
    """A value as text, whole numbers without a point: a part's default may be written 1.0 and its key 1."""
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)


def _placed(text: str, roots: Mapping[str, str]) -> str:
    """A path below a folder of `paths` as such, so that moved data are the same data."""
    for root, name in roots.items():
        if text == root or text.startswith(f"{root.rstrip('/')}/"):
            return name + text[len(root.rstrip("/")) :]
    return text


def _read(run: Path, path: Path) -> dict[str, Any]:
    if not path.is_file():
        found = ", ".join(word("run", each.parent) for each in sorted(run.parent.glob("*/config.yaml")))
        cure = f"runs beside it: {found}" if found else "use run=<outputs>/<dataset>/runs/<name>"
        raise InputError(f"run: {run}: not the folder of a run, it has no config.yaml; {cure}")
    if path.stat().st_size > LONGEST:
        raise InputError(f"{path}: {path.stat().st_size} bytes: too long for a configuration; train the run again")
    text = path.read_text("utf-8", errors="replace")
    try:
        values = OmegaConf.to_container(OmegaConf.create(text)) if is_plain(text) else None
    except (yaml.YAMLError, OmegaConfBaseException, ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{path}: not readable as YAML ({type(error).__name__}); train the run again") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: not a configuration of plain keys and values; train the run again")
    return changed({str(key): value for key, value in values.items()}, _moved)


def _moved(place: str, value: Any) -> Any:
    """The name of a part by the module it stands in now."""
    names = MOVED if place.rpartition(".")[2] == "_target_" and isinstance(value, str) else {}
    old = next((name for name in names if value.startswith(name)), "")
    return names[old] + value.removeprefix(old) if old else value
