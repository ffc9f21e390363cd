"""The tree of YAML files: where it lies, which options a group offers, and which classes a group names."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

PACKAGE = Path(__file__).resolve().parents[1]
TARGET = re.compile(r"\b_target_:\s*[\"']?([\w.]+)")


@cache
def config_folder() -> Path:
    """`configs` inside the installed package, or beside the package in a checkout."""
    installed = PACKAGE / "configs"
    return installed if installed.is_dir() else PACKAGE.parent / "configs"


@contextmanager
def opened(job: str) -> Iterator[None]:
    """Lets Hydra compose from the tree; a Hydra that is at work, as while it calls a launcher, is set aside."""
    outer, GlobalHydra.instance().hydra = GlobalHydra.instance().hydra, None
    try:
        with initialize_config_dir(str(config_folder()), version_base="1.3", job_name=job):
            yield
    finally:
        GlobalHydra.instance().hydra = outer


def is_group(name: str) -> bool:
    """True for a folder of options, for instance `dataset`."""
    return name.replace("/", "").isidentifier() and (config_folder() / name).is_dir()


def options(group: str) -> list[str]:
    """Names that can stand behind `<group>=`."""
    return sorted(path.stem for path in (config_folder() / group).glob("*.yaml"))


@cache
def named_targets(group: str) -> frozenset[str]:
    """Every `_target_` in the files of a group: the classes that may be built in its nodes."""
    texts = (path.read_text() for path in (config_folder() / group).rglob("*.yaml"))
    return frozenset(target for text in texts for target in TARGET.findall(text))
