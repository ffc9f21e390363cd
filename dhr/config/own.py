"""YAML files beside the user's data: <data>/configs/<group>/<option>.yaml, which every command finds.

A folder of data may come from somebody else. So these files hold plain keys and values, name no file but ours, and
their parts are judged by check 1, whose allow-list is made from our own files.
"""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from dhr.config.check import shown, unknown_key
from dhr.config.plain_yaml import LONGEST, is_plain
from dhr.config.schema import Dataset
from dhr.config.tree import is_group, options
from dhr.core.errors import InputError
from dhr.core.words import open_home, quoted

FOLDER = "configs"  # in the folder of the data
BATCHES = (16, 8, 4, 2)  # sizes of batches; chosen, the first is that of the forms
STEPS = 4  # of an epoch at least, where the images suffice; chosen
LENGTH = 160  # steps of a training at least, what dataset=folder makes of 320 images; chosen
OF_TAGS = 80  # steps of the classifier behind wss=cam, likewise
PATH_KEY = "hydra.searchpath"
PRESET = "/preset@_global_"
PACKAGE = re.compile(r"^\s*#\s*@package", re.MULTILINE)  # of Hydra: the keys of a file would stand elsewhere


def own_file(data: str | Path, group: str, option: str) -> Path:
    """Where a file of the user's stands."""
    return Path(data) / FOLDER / group / f"{option}.yaml"


def own_options(data: str | Path, group: str) -> list[str]:
    """Names of the user's that can stand behind `<group>=`; ours come first, so one of ours is not among them."""
    found = {path.stem for path in (Path(data) / FOLDER / group).glob("*.yaml")}
    return sorted(found - {*options(group)})


def own_settings(name: str, form: str, images: int, *, epochs: int, start: int) -> str:
    """The settings of images of the user's own, as YAML.

    A small set is learnt in smaller batches and for more epochs, so that there are some steps.

    Args:
        name: of the data set and of its folder.
        form: data set of ours that all other settings are taken from.
        images: how many there are to learn from.
        epochs: of a training by the form.
        start: epoch of the form from which on labels are made anew; it keeps its share of them.
    """
    batch, an_epoch = _batch(images)
    longer = max(epochs, -(-LENGTH // an_epoch))
    later = [f"max_epochs: {longer} # {longer * an_epoch} steps", f"rebalancing_start: {start * longer // epochs}"]
    forms = ", or ".join(option for option in options("dataset") if option.startswith("folder"))
    lines = [
        f"# Images of your own: dataset={name} in every command. What stands here wins over the settings of {form}.",
        f"defaults: # {forms}",
        f"  - {form}",
        "  - _self_",
        f"name: {name}",
        f"folder: {name}",
        *([f"batch_size: {batch} # for {images} images"] if batch < BATCHES[0] else []),
        *(later if longer > epochs else []),
    ]
    return "\n".join([*lines, ""])


def cam_epochs(images: int) -> int | None:
    """How long the classifier behind wss=cam should learn from few images; None where its own length is enough."""
    batch, an_epoch = _batch(images)
    return -(-OF_TAGS // an_epoch) if batch < BATCHES[0] else None


def _batch(images: int) -> tuple[int, int]:
    """Size of the batches of a set, and their number in an epoch."""
    batch = next((size for size in BATCHES if images >= size * STEPS), BATCHES[-1])
    return batch, max(images // batch, 1)


def with_own(words: Sequence[str], folder: str | None = None) -> list[str]:
    """Typed words with the folder of the user's files as the last place where Hydra looks for options.

    Args:
        words: what was typed, as Hydra is to see it; the last of `paths.data=` says where the data are, else DHR_DATA,
            else `data`.
        folder: further folder of YAML files, as --config-dir gives it; it comes first.

    Raises:
        InputError: a file that is named there is not as it has to be.
    """
    typed = {word: override for word in words if (override := _parsed(word)) is not None}
    own = Path(_data(typed.values())) / FOLDER
    places = [] if folder is None else [folder]
    for override in typed.values():
        value = override.value()
        if override.get_key_element() == PATH_KEY and isinstance(value, list):
            places += value
        elif is_group(override.key_or_group):
            for option in value if isinstance(value, list) else [value]:
                _check_file(own.parent, override.key_or_group, str(option))
    places += [f"file://{own.absolute()}"] if own.is_dir() else []
    if not places:
        return [*words]
    rest = [word for word in words if word not in typed or typed[word].get_key_element() != PATH_KEY]
    return [*rest, f"{PATH_KEY}=[{','.join(map(quoted, places))}]"]


def _parsed(word: str) -> Override | None:
    """The word as Hydra understands it; None for sweeps, whose jobs are looked at one by one."""
    override = OverridesParser.create().parse_override(word)
    return None if override.is_sweep_override() else override


def _data(overrides: Iterable[Override]) -> str:
    typed = [override.value() for override in overrides if override.key_or_group == "paths.data"]
    try:
        return open_home(str(typed[-1]) if typed else os.environ.get("DHR_DATA", "data"))
    except InputError as error:
        raise InputError(f"paths.data: {error}") from None


def _check_file(data: Path, group: str, option: str) -> None:
    """Looks at a file of the user's before Hydra reads it; nothing where it is none of theirs.

    Raises:
        InputError: too long, not YAML, or with more than plain keys and values and the names of our files.
    """
    path = own_file(data, group, option)
    if option in options(group) or not path.is_file():
        return
    if path.stat().st_size > LONGEST:
        raise InputError(f"{path}: {path.stat().st_size} bytes: too long for settings; {LONGEST} are allowed")
    text = path.read_text("utf-8", errors="replace")
    try:
        values = yaml.safe_load(text) if is_plain(text) and not PACKAGE.search(text) else None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not readable as YAML ({type(error).__name__}); correct it") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: not plain keys and values; leave out ${{...}}, anchors and @package")
    named = values.get("defaults", [])
    for each in named if isinstance(named, list) else [named]:
        _check_named(each, group, path)
    known = {*Dataset.model_fields, "defaults"} if group == "dataset" else {*map(str, values)}
    for key, value in values.items():
        if key not in known:
            raise unknown_key(f"{path}: ", str(key), value, known)


def _check_named(named: Any, group: str, path: Path) -> None:
    """One entry of the list of defaults: an option of ours of the same group, a preset of ours, or `_self_`."""
    pairs = named.items() if isinstance(named, dict) else [(group, named)]
    for key, option in pairs:
        allowed = options("preset") if key == PRESET else [*options(group), "_self_"] if key == group else []
        if option not in allowed:
            presets = f"{PRESET}: {', or '.join(options('preset'))}"
            cure = f"allowed are _self_, {', '.join(options(group))}, and {presets}"
            raise InputError(f"{path}: defaults: {shown(named)}: not one of ours; {cure}")
