"""What a command waits for before it begins: nothing that takes seconds to import and that it does not use."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from tiny import ROOT

LIGHTNING, NETWORKS = {"pytorch_lightning", "lightning_fabric"}, {"timm", "transformers"}
PICTURES, METRICS = {"torchvision"}, {"torchmetrics"}
ALL = LIGHTNING | NETWORKS | PICTURES | METRICS
LIGHT = {
    "prepare": {"torch", *ALL},
    "audit": {"torch", *ALL},
    "report": {"torch", *ALL},
    "doctor": {"torch", *ALL},
    "submit": ALL,
    "predict": ALL,
    "ground": ALL,
    "extract_uss": ALL,
    "evaluate": ALL - METRICS,
}


def file_of(module: str) -> Path | None:
    place = ROOT.joinpath(*module.split("."))
    return next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()), None)


@cache
def imported(module: str) -> frozenset[str]:
    """The modules that a module of ours imports when it is imported itself: what stands in no function."""
    path = file_of(module)
    return frozenset() if path is None else frozenset(_named(ast.parse(path.read_bytes()).body))


def _named(body: list[ast.stmt]) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module is not None
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names if file_of(f"{node.module}.{name.name}"))
        elif isinstance(node, ast.If | ast.Try | ast.With | ast.ClassDef):
            typing = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
            yield from () if typing else _named(node.body)
            yield from _named(getattr(node, "orelse", []))


def chains(module: str) -> dict[str, str]:
    """Every package that comes with a module, and through which modules it comes."""
    found, ways = {}, [(module, module)]
    seen = {module}
    while ways:
        here, way = ways.pop(0)
        for name in imported(here) - seen:
            seen.add(name)
            if name.startswith("dhr."):
                ways.append((name, f"{way} > {name}"))
            else:
                found.setdefault(name.partition(".")[0], f"{way} > {name}")
    return found


@pytest.mark.parametrize("command", LIGHT)
def test_what_a_command_does_not_wait_for(command: str) -> None:
    found = chains(f"dhr.stage.{command}")
    assert {name: found[name] for name in LIGHT[command] & {*found}} == {}


def test_what_it_uses_is_seen() -> None:
    """So the test above looks far enough."""
    assert chains("dhr.stage.train").keys() >= {"torch", "pytorch_lightning", "torchmetrics"}
    assert {"torchmetrics", "torch"} <= chains("dhr.stage.evaluate").keys()
