"""Options of `dhr.labels`: what could be typed behind `rebalancing=` at train, each with settings of its own."""

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from hydra import compose as hydra_compose
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from dhr.config.check import check
from dhr.config.overrides import explain, loosen, parse, root_key, value_of
from dhr.config.sections import OptionOfLabels
from dhr.config.tree import opened, options
from dhr.core.errors import InputError
from dhr.core.labels import GIVEN
from dhr.core.words import nearest

OF_NETWORK = ("network", "network_crf")  # what the network itself says, without a rebalancer
SETTABLE = ("tau", "rebalancing")


def rebalancers_of(values: Mapping[str, Any]) -> dict[str, DictConfig]:
    """The rebalancer that each option means, with the data set and tau of `values`; `given` and network's have none.

    Raises:
        InputError: no such option, a setting that it does not have, or it makes no labels.
    """
    return {option: _rebalancer(option, values) for option in values["options"] if option not in (GIVEN, *OF_NETWORK)}


def folder_of(option: str) -> str:
    """The option as the name of a folder."""
    return re.sub(r"[^A-Za-z0-9._=-]+", "-", option)


def refuse_doubles(values: Mapping[str, Any]) -> None:
    """Makes sure that no two options would lie in one folder.

    Raises:
        InputError: names the two.
    """
    seen: dict[str, str] = {}
    for option in values["options"]:
        other = seen.setdefault(folder_of(option).lower(), option)
        if other != option:
            raise InputError(f"options: {option}: has the folder of {other}, {folder_of(other)}; leave one of them out")


def _rebalancer(option: str, values: Mapping[str, Any]) -> DictConfig:
    try:
        name, *words = shlex.split(option) or [""]
    except ValueError as error:
        raise InputError(f"options: {option}: {error}; quote as in a shell") from None
    known = sorted({*options("rebalancing"), GIVEN, *OF_NETWORK} - {"none"})
    if name == "none":
        raise InputError(f"options: {option}: makes no labels; the row {GIVEN} has the masks that it learns")
    if name in (GIVEN, *OF_NETWORK):
        raise InputError(f"options: {option}: has no settings; write {name} alone")
    if name not in known:
        raise InputError(f"options: {option}: no such option; {nearest(name, known)}allowed: {', '.join(known)}")
    try:
        return _composed(name, words, values)
    except (InputError, HydraException, OmegaConfBaseException) as error:
        raise InputError(f"options: {option}: {explain(error)}") from None


def _composed(name: str, words: Sequence[str], values: Mapping[str, Any]) -> DictConfig:
    typed = parse(words)
    for override in typed:
        if root_key(override) not in SETTABLE or override.key_or_group == "rebalancing":
            key, allowed = override.key_or_group, "tau=<value>, rebalancing.rebalancer.<part>.<key>=<value>"
            raise InputError(f"{key}: {value_of(override)}: cannot be set here; allowed: {allowed}")
        if override.is_sweep_override():
            raise InputError(f"{override.key_or_group}: {value_of(override)}: several values; make an option of each")
    with opened("labels"):
        raw = hydra_compose("base", [f"+rebalancing={name}", *map(loosen, words)])
    with open_dict(raw):
        raw.dataset = values["dataset"]
        if "tau" not in map(root_key, typed):
            raw.tau = values["tau"]
    resolved: Any = OmegaConf.to_container(raw, resolve=True, throw_on_missing=True)
    check({key: resolved[key] for key in SETTABLE}, OptionOfLabels)
    return OmegaConf.create(resolved["rebalancing"]["rebalancer"])
