"""From typed words to one checked configuration."""

import itertools
import sys
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from omegaconf import DictConfig, OmegaConf, open_dict

from dhr.config.check import check
from dhr.config.groups import GROUPS, groups
from dhr.config.overrides import FROM_RUN, check_typed, loosen, parse, root_key
from dhr.config.own import with_own
from dhr.config.relations import check_relations
from dhr.config.schema import SCHEMAS
from dhr.config.texts import as_typed
from dhr.config.tree import opened
from dhr.config.walk import changed, leaves
from dhr.core.errors import InputError
from dhr.core.words import open_home

PLUGINS = Path(__file__).parent / "plugins"
CALLED = {  # all that Hydra may build: the launchers and the sweeper that hydra/launcher= and hydra/sweeper= name
    "hydra.launcher._target_": (
        "hydra_plugins.dhr_launcher.ProcessLauncher",
        "hydra._internal.core_plugins.basic_launcher.BasicLauncher",
    ),
    "hydra.sweeper._target_": ("hydra._internal.core_plugins.basic_sweeper.BasicSweeper",),
}
PAPER_TAU = 0.8  # not written into the name of a run


def find_plugins() -> None:
    """Makes our launcher known to Hydra, which looks only into the namespace `hydra_plugins` on the path.

    And `${home:<path>}`, for folders that Hydra makes itself.
    """
    OmegaConf.register_new_resolver("home", open_home, replace=True)
    if str(PLUGINS) not in sys.path:
        sys.path.append(str(PLUGINS))


def compose(verb: str, words: Sequence[str] = (), *, folder: str | None = None) -> DictConfig:
    """Composes and checks the configuration of a command, as the command itself does.

    Args:
        verb: name of the command, for instance "train".
        words: what was typed, without sweeps.
        folder: further folder of YAML files, as --config-dir gives it.

    Raises:
        InputError, HydraException, OmegaConfBaseException: the words are wrong.
    """
    find_plugins()
    words = [as_typed(verb, word) for word in words]
    for override in check_typed(verb, words):
        if override.is_sweep_override():
            key, _, values = str(override.input_line).partition("=")
            raise InputError(f"{key}: {values}: several values; add -m to sweep over them, or write a list as [a,b]")
    with opened(verb):
        raw = hydra_compose(verb, with_own([*map(loosen, words)], folder), return_hydra_config=True)
        check_hydra(raw.hydra)
        return finish(verb, raw, raw.hydra)


def jobs(verb: str, words: Sequence[str]) -> list[list[str]]:
    """Typed words of every job of a sweep: all combinations of the values that are separated by commas.

    Ranges of real numbers, which only some sweepers know, are left out.
    """
    choices = []
    words = [as_typed(verb, word, sweep=True) for word in words]
    for word, override in zip(words, check_typed(verb, words), strict=True):
        if not override.is_sweep_override():
            choices.append([word])
        elif override.is_discrete_sweep():
            choices.append([f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()])
    return [list(job) for job in itertools.product(*choices)]


def finish(verb: str, raw: DictConfig, hydra: DictConfig) -> DictConfig:
    """Resolves a composed configuration, checks it, reads the stored one of `run`, and names the run.

    Args:
        verb: name of the command.
        raw: what Hydra composed.
        hydra: Hydra's own part, which knows what was typed and which options were chosen.

    Raises:
        InputError: check 1 fails.
        OmegaConfBaseException: an interpolation or a missing value.
    """
    bare = raw.copy()
    with open_dict(bare):
        bare.pop("hydra", None)
    resolved: Any = OmegaConf.to_container(bare, resolve=True, throw_on_missing=True)
    used = SCHEMAS[verb].model_fields
    values = {key: value for key, value in resolved.items() if key in used or key not in groups("preset")}
    values = changed(check(values, SCHEMAS[verb]), _at_home)
    _refuse_interpolations(values)
    values["choices"] = {key: hydra.runtime.choices[key] for key in sorted(values) if key in hydra.runtime.choices}
    typed = {root_key(override) for override in parse(hydra.overrides.task)}
    if values.get("run") is not None:
        stored = FROM_RUN | {"name"} | ({*groups("retypable")} - typed)
        values = _with_stored(values, stored & used.keys())
    elif values.get("weights") is not None:
        values = _with_stated(values, typed)
    check_relations(verb, values)
    if verb == "train" and values["name"] is None:
        values["name"] = run_name(values)
    checked = OmegaConf.create(values)
    OmegaConf.set_struct(checked, True)
    return checked


def run_name(values: Mapping[str, Any]) -> str:
    """<wss>-<rebalancing>-<backbone>-seed<seed>, and what is not usual: label maker, refresh, tau."""
    choices = values["choices"]
    parts = [*(choices[group] for group in groups("in_name")), f"seed{values['seed']}"]
    parts += [choices[group] for group in groups("usual") if choices[group] != GROUPS[group].usual]
    return "-".join([*parts, *([] if values["tau"] == PAPER_TAU else [f"tau{values['tau']:g}"])])


def check_hydra(hydra: DictConfig) -> None:
    """Refuses parts of Hydra's own configuration that would call what a file names.

    Raises:
        InputError: callbacks, an environment, a logging class or factory, or another launcher or sweeper than Hydra's
            and ours.
    """
    plain: Any = OmegaConf.to_container(hydra, resolve=False)
    for place, value in (("hydra.callbacks", plain["callbacks"]), ("hydra.job.env_set", plain["job"]["env_set"])):
        if value:
            raise InputError(f"{place}: {value}: not allowed; leave it out")
    for key, value in leaves(plain, "hydra"):
        last = key.rpartition(".")[2]
        logs = last == "class" and value in ("logging.StreamHandler", "logging.FileHandler")
        called = last in ("class", "()") or (last.startswith("_") and last.endswith("_"))
        if called and not logs and value not in CALLED.get(key, ()):
            raise InputError(f"{key}: {value}: not allowed; leave it out")


def _at_home(place: str, value: Any) -> Any:
    """A text with its leading `~` opened: no shell does that behind `key=`, in a YAML file or in a variable."""
    try:
        return open_home(value) if isinstance(value, str) else value
    except InputError as error:
        raise InputError(f"{place}: {error}") from None


def _refuse_interpolations(values: Mapping[str, Any]) -> None:
    """A resolved value that still looks like an interpolation came from outside and would be resolved later."""
    for place, value in leaves(values):
        if "${" in str(value):
            raise InputError(f"{place}: {value}: not allowed; write the value itself")


def _with_stored(values: dict[str, Any], keys: AbstractSet[str]) -> dict[str, Any]:
    from dhr.config.stored import load_run_config  # brings numpy, for which --help should not wait

    stored: Any = OmegaConf.to_container(load_run_config(Path(values["run"])))
    there, here = stored["paths"]["data"], values["paths"]["data"]
    taken = {key: changed(stored[key], lambda _, value: _moved(value, there, here)) for key in sorted(keys)}
    choices = {**values["choices"], **{key: stored["choices"].get(key) for key in taken if key in stored["choices"]}}
    return {**values, **taken, "choices": choices}


def _with_stated(values: dict[str, Any], typed: AbstractSet[str]) -> dict[str, Any]:
    """The values with what a file of weights says of its network; what was typed wins."""
    from dhr.config.exported import stated
    from dhr.disk.weights.hub import local_weights

    weights = local_weights(values["weights"])
    found = stated(weights)
    if found is None:
        return {**values, "weights": str(weights)}
    taken = {key: value for key, value in found.settings.items() if key in values and key not in typed}
    choices = {**values["choices"], **{key: found.choices.get(key) for key in taken}}
    return {**values, "weights": str(weights), **taken, "choices": choices}


def _moved(value: Any, there: str, here: str) -> Any:
    """The value with all paths below one folder in another: the data may lie elsewhere than when the run began."""
    if isinstance(value, str) and value.startswith(f"{there.rstrip('/')}/"):
        return here.rstrip("/") + value[len(there.rstrip("/")) :]
    return value
