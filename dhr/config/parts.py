"""Check 2 and the building of parts: nodes with `_target_` against the real classes, then Hydra's instantiate."""

import inspect
import logging
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf

from dhr.config.check import unknown_key
from dhr.config.groups import GROUPS, Group
from dhr.config.outside import OutsidePart, outside_parts
from dhr.config.provenance import BROUGHT, SAW
from dhr.config.walk import nodes
from dhr.core.errors import InputError

log = logging.getLogger("dhr.config")
ON_PYPI = {"pydensecrf": "pydensecrf2"}  # packages that are installed under another name


def check_signatures(cfg: DictConfig) -> None:
    """Check 2: every node is bound against the signature of the class behind it, before anything is built.

    Raises:
        InputError: an argument that the class does not know, one that it needs and nobody gives, or a package that it
            needs and that is not installed.
    """
    for place, node in nodes(OmegaConf.to_container(cfg, resolve=True)):
        known = inspect.signature(_class_of(place, node["_target_"])).parameters
        given = {str(key) for key in node if key != "_target_"} - (set() if known.keys().isdisjoint(BROUGHT) else {SAW})
        for key in sorted(given - {*known}):
            raise unknown_key(f"{place}.", key, node[key], known)
        supplied = GROUPS.get(place.partition(".")[0], Group()).supplied
        needed = {name for name, each in known.items() if each.default is each.empty and each.kind not in _VARIADIC}
        for key in sorted(needed - given - supplied):
            raise InputError(f"{place}.{key}: missing; set it with {place}.{key}=<value>")


def build(node: Mapping[str, Any], **parts: Any) -> Any:
    """Builds the object a checked node describes.

    Args:
        node: with `_target_`; nodes inside it are built first.
        **parts: further arguments, handed over as they are, not copied.

    Raises:
        InputError: the class refuses a value.
    """
    if node["_target_"] == "pytorch_lightning.Trainer":
        return _build_trainer(node, parts)
    try:
        return instantiate(without_saw(node), _partial_=True, _convert_="all")(**parts)
    except InstantiationException as error:
        # Hydra wraps what a constructor raises; the cause says whether it is the user's error or ours.
        raise (error.__cause__ or error) from None


def _build_trainer(node: Mapping[str, Any], parts: Mapping[str, Any]) -> Any:
    """Lightning says in several ways that this machine or this combination of options will not do."""
    import torch
    from lightning_fabric.utilities.exceptions import MisconfigurationException

    on_cpu = node.get("accelerator") == "cpu" or not torch.cuda.is_available()
    if on_cpu and node.get("sync_batchnorm"):
        log.info("trainer.sync_batchnorm: batch norm is synchronised between GPUs only; here each process has its own")
        parts = {**parts, "sync_batchnorm": False}
    try:
        return instantiate(node, _partial_=True, _convert_="all")(**parts)
    except (MisconfigurationException, TypeError, ValueError) as error:
        raise InputError(f"trainer: {error}") from error


def without_saw(node: Any) -> Any:
    """A node as plain values, resolved, without what weights saw: that changes nothing of what is made with them."""
    if isinstance(node, DictConfig | ListConfig):
        return without_saw(OmegaConf.to_container(node, resolve=True))
    if isinstance(node, list):
        return [without_saw(each) for each in node]
    return {key: without_saw(each) for key, each in node.items() if key != SAW} if isinstance(node, Mapping) else node


_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _class_of(place: str, target: str) -> Callable[..., Any]:
    module, _, name = target.rpartition(".")
    outside = next((part for part in outside_parts() if part.target == target), None)
    if outside is not None:
        return _class_of_others(place, target, outside)
    try:
        found: Callable[..., Any] = getattr(import_module(module), name)
    except ImportError as error:
        package = (error.name or "").partition(".")[0]
        if package in {"", "dhr"}:
            raise
        raise InputError(
            f"{place}: {target}: needs {package}, which cannot be imported ({error}); "
            f"pip install {ON_PYPI.get(package, package)}, or choose another {place.partition('.')[0]}"
        ) from error
    return found


def _class_of_others(place: str, target: str, part: OutsidePart) -> Callable[..., Any]:
    module, _, name = target.rpartition(".")
    try:
        found: Callable[..., Any] = getattr(import_module(module), name)
    except Exception as error:  # whatever another package does when it is imported
        said = " ".join(f"{type(error).__name__} {error}".split())[:200]
        cure = f"correct or uninstall {part.package}, or choose another {place.partition('.')[0]}"
        raise InputError(f"{place}: {target}: cannot be imported: {said}; {cure}") from error
    return found
