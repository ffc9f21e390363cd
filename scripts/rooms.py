"""The rooms of the package: what each imports, whether a circle or an arrow upwards is among it, who names DictConfig.

    python scripts/rooms.py [folder]

Ends with exit code 1 if a promise of docs/architecture.md is broken. The floors are those of the contract in
pyproject.toml, which import-linter holds in `make check`; this script counts without it.
"""

import ast
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

SEES_SETTINGS = frozenset({"config", "stage"})
AT_ROOT = frozenset({"__init__", "__main__"})  # beside the commands

Rooms = Mapping[str, Mapping[str, int]]


def imported(path: Path) -> Iterator[str]:
    """Modules of the package that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dhr."):
            yield str(node.module)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("dhr."))


def rooms_of(package: Path) -> tuple[Rooms, dict[str, tuple[int, int]]]:
    """How often each room imports each other one; and the files and lines of each."""
    arrows: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    sizes: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).parts
        room = parts[0] if len(parts) > 1 else "commands"
        files, lines = sizes[room]
        sizes[room] = (files + 1, lines + len(path.read_text("utf-8").splitlines()))
        for module in imported(path):
            target = module.split(".")[1]
            if target != room:
                arrows[room][target] += 1
    return arrows, dict(sizes)


def floors_of(root: Path) -> dict[str, int]:
    """Number of the floor of every room, from below, as the contract has it."""
    contracts = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    names = [[name.strip().removeprefix("dhr.") for name in layer.split("|")] for layer in layers[1:]]
    floors = {name: number for number, layer in enumerate(reversed(names)) for name in layer}
    return {**floors, "commands": len(names)}


def circle_of(arrows: Rooms) -> list[str]:
    """Rooms that import each other in a circle; empty if there is none."""
    try:
        TopologicalSorter({room: set(targets) for room, targets in arrows.items()}).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def main(arguments: Sequence[str]) -> int:
    """Prints the count of the folder named first, by default the repository of this file; returns the exit code."""
    root = Path(arguments[0]) if arguments else Path(__file__).resolve().parent.parent
    package = root / "dhr"
    (arrows, sizes), floors = rooms_of(package), floors_of(root)
    for room in sorted(sizes, key=lambda room: -floors[room]):
        files, lines = sizes[room]
        targets = ", ".join(f"{target} {count}" for target, count in sorted(arrows.get(room, {}).items()))
        print(f"floor {floors[room]}  {room:<12} {files:>3} files {lines:>6} lines  imports: {targets or 'nothing'}")
    up = [
        f"{room} -> {target}"
        for room, targets in arrows.items()
        for target in targets
        if floors[target] >= floors[room]
    ]
    circle = circle_of(arrows)
    settings = sorted(
        {
            path.relative_to(package).parts[0]
            for path in package.rglob("*.py")
            if "DictConfig" in path.read_text("utf-8")
        }
    )
    strangers = sorted(
        path.name
        for path in package.glob("*.py")
        if "Command(" not in path.read_text("utf-8") and path.stem not in AT_ROOT
    )
    print(f"circles: {' -> '.join(circle) or 'none'}")
    print(f"arrows upwards or sideways: {', '.join(sorted(up)) or 'none'}")
    print(f"at the root beside commands: {', '.join(strangers) or 'nothing'}")
    print(f"DictConfig is named in: {', '.join(settings)}")
    return int(bool(up or circle or strangers or set(settings) - SEES_SETTINGS))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
