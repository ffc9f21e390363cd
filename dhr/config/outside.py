"""Parts and YAML files of other installed packages, by the entry points that they declare; nothing is imported.

A package declares in its pyproject.toml, as tests/plugin_package shows:

    [project.entry-points."dhr.parts"]      "backbone.<option>" = "<package>.<module>:<Class>"
    [project.entry-points."dhr.configs"]    <any name> = "<package>.<folder of YAML files>"

What an entry point says is believed only of the package's own files, so no file of a run can name what nobody declared.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.machinery import PathFinder
from importlib.metadata import Distribution, EntryPoint, entry_points
from pathlib import Path
from urllib.parse import unquote, urlparse

from dhr.config.tree import options

PARTS, CONFIGS = "dhr.parts", "dhr.configs"
DOTTED = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*"
CLASS = re.compile(rf"(?P<module>{DOTTED}):(?P<name>[A-Za-z_]\w*)", re.ASCII)
NAME = re.compile(r"(?P<group>\w+)\.(?P<option>\w+)", re.ASCII)


@dataclass(frozen=True)
class OutsidePart:
    """A class that a package declares.

    Attributes:
        declared: the entry point as it stands there.
        package: the distribution, with its version.
        group: config group that it is for.
        target: what a `_target_` may be.
        problem: why it is refused, with a cure; None for one that may be named.
    """

    declared: str
    package: str
    group: str
    target: str
    problem: str | None


@cache
def outside_parts() -> tuple[OutsidePart, ...]:
    """All declared classes of the packages that are installed, those that are refused too."""
    return tuple(map(_part, sorted(entry_points(group=PARTS))))


def outside_targets(group: str) -> frozenset[str]:
    """Classes of others that may stand in nodes of a group."""
    return frozenset(part.target for part in outside_parts() if part.group == group and part.problem is None)


@cache
def outside_file(module: str) -> Path | None:
    """The source of a module in a package of which a class may be named; None for modules of other packages."""
    tops = {part.target.partition(".")[0] for part in outside_parts() if part.problem is None}
    return _file_of(module) if module.partition(".")[0] in tops else None


def config_folders() -> Iterator[tuple[str, Path | None]]:
    """Every declared folder of YAML files: the entry point in words, and the folder; None where it is refused."""
    for entry in sorted(entry_points(group=CONFIGS)):
        folder = _folder_of(entry.value) if re.fullmatch(DOTTED, entry.value, re.ASCII) else None
        owned = folder is not None and _owns(entry.dist, folder)
        yield _declared(entry), folder if owned else None


def _part(entry: EntryPoint) -> OutsidePart:
    named, said = NAME.fullmatch(entry.name), CLASS.fullmatch(entry.value)
    group = "" if named is None else named["group"]
    target = entry.value.replace(":", ".")
    problem = _problem(entry, group, "" if named is None else named["option"], "" if said is None else said["module"])
    return OutsidePart(_declared(entry), _package(entry), group, target, problem)


def _problem(entry: EntryPoint, group: str, option: str, module: str) -> str | None:
    from dhr.config.groups import GROUPS  # which asks here for its classes

    groups = sorted(name for name, each in GROUPS.items() if each.home.startswith("dhr."))
    if group not in groups:
        return f'its name has to be "<group>.<option>", as in "backbone.my_net"; groups are {", ".join(groups)}'
    if not module:
        return 'it has to be "<package>.<module>:<Class>"'
    if option in options(group):
        return f"{group}={option} is an option of dhr itself; give it another name"
    path = None if module.partition(".")[0] == "dhr" else _file_of(module)
    if path is None:
        return (
            f"there is no source file of the module {module}; correct the entry point, or install {entry.value} again"
        )
    if not _owns(entry.dist, path):
        return f"{module} is no module of that package; an entry point may name classes of its own package only"
    return None


def _declared(entry: EntryPoint) -> str:
    return f"{entry.name} = {entry.value}"


def _package(entry: EntryPoint) -> str:
    return "unknown" if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"


def _file_of(module: str) -> Path | None:
    """The source file of a module, found on the path without an import of its package."""
    top, *inner = module.split(".")
    spec = PathFinder.find_spec(top)
    if spec is None:
        return None
    if not inner:
        return Path(spec.origin) if spec.origin is not None and spec.origin.endswith(".py") else None
    for folder in spec.submodule_search_locations or ():
        place = Path(folder, *inner)
        for path in (place.with_suffix(".py"), place / "__init__.py"):
            if path.is_file():
                return path
    return None


def _folder_of(package: str) -> Path | None:
    top, *inner = package.split(".")
    spec = PathFinder.find_spec(top)
    places = [] if spec is None else [Path(folder, *inner) for folder in spec.submodule_search_locations or ()]
    return next((place for place in places if place.is_dir()), None)


def _owns(package: Distribution | None, path: Path) -> bool:
    """Whether a distribution brings a file or folder: by its list of files, or from a folder that is worked on."""
    if package is None:
        return False
    path = path.resolve()
    for file in package.files or ():
        located = Path(str(package.locate_file(file))).resolve()
        if path == located or path in located.parents:
            return True
    try:
        url = json.loads(package.read_text("direct_url.json") or "{}")
        root = Path(unquote(urlparse(url["url"]).path)) if url["dir_info"]["editable"] else None
    except (ValueError, KeyError, TypeError):
        return False
    return root is not None and path.is_relative_to(root.resolve())
