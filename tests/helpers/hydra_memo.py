"""Hydra composes the files of every choice of options once in a process; the tests ask for it some thousand times.

Which files a command line chooses, and their content together, is remembered by the words that choose. Values are set
by Hydra, in a fresh copy of that content, and all that is ours runs each time. Where a folder of somebody else's is on
Hydra's path too, nothing is remembered.
"""

import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hydra._internal import config_loader_impl as loading
from hydra._internal.defaults_list import DefaultsList, Overrides
from omegaconf import DictConfig, OmegaConf

from dhr.config.tree import config_folder

Loader = loading.ConfigLoaderImpl
_choose: Callable[..., DefaultsList] = loading.create_defaults_list
_merge: Callable[..., DictConfig] = Loader._compose_config_from_defaults_list
_chosen: dict[tuple[Any, ...], DefaultsList] = {}
_merged: dict[int, bytes | None] = {}  # by the identity of a list of files in `_chosen`, which lives as long


def remember(*, on: bool = True) -> None:
    """From now on, in this process and its copies."""
    loading.create_defaults_list = choose if on else _choose
    Loader._compose_config_from_defaults_list = merge if on else _merge


def choose(repo: Any, config_name: str | None, overrides_list: list[Any], **modes: bool) -> DefaultsList:
    """In place of Hydra's function: the files that a command line chooses, and the values that it sets."""
    sources = [(source.scheme(), source.path) for source in repo.get_sources()]
    if any(scheme == "file" and path != str(config_folder()) for scheme, path in sources):
        return _choose(repo=repo, config_name=config_name, overrides_list=overrides_list, **modes)
    values = Overrides(repo=repo, overrides_list=overrides_list).config_overrides
    choices = [word.input_line for word in overrides_list if word not in values]
    key = (config_name, *choices, *sorted(modes.items()), *sources)
    if key not in _chosen:
        _chosen[key] = _choose(repo=repo, config_name=config_name, overrides_list=overrides_list, **modes)
        _merged[id(_chosen[key].defaults)] = None
    return replace(_chosen[key], config_overrides=values)


def merge(self: Loader, defaults: list[Any], repo: Any) -> DictConfig:
    """In place of Hydra's method: the content of the chosen files together."""
    if id(defaults) not in _merged:
        return _merge(self, defaults=defaults, repo=repo)
    content = _merged[id(defaults)]
    if content is None:
        first = _merge(self, defaults=defaults, repo=repo)
        OmegaConf.clear_cache(first)  # the time of day
        content = _merged[id(defaults)] = pickle.dumps(first)
    fresh: DictConfig = pickle.loads(content)
    return fresh
