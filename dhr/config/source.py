"""Signatures read from source text: what a class takes is known without importing it, and torch with it."""

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Never, Union

from dhr.config.provenance import SAW
from dhr.config.tree import PACKAGE
from dhr.config.values import Part

THIRD_PARTY = {"pytorch_lightning.Trainer": "trainer/trainer.py"}
PRECISIONS = Literal["32-true", "16-mixed", "bf16-mixed", "16-true", "bf16-true", "64-true", "32", "bf16", 16, 32, 64]
# Narrower than Lightning's own annotations, so that a slip is found before Lightning is imported.
NARROWER: dict[tuple[str, str], Any] = {
    ("pytorch_lightning.Trainer", "precision"): PRECISIONS,
    ("pytorch_lightning.Trainer", "accelerator"): Literal["auto", "cpu", "gpu", "cuda", "mps", "tpu"],
    ("pytorch_lightning.Trainer", "strategy"): Literal["auto", "ddp", "ddp_find_unused_parameters_true"],
    ("pytorch_lightning.Trainer", "gradient_clip_algorithm"): Literal["norm", "value", None],
}


@dataclass(frozen=True)
class Parameter:
    """One argument of a class; `default` as it is written, where there is one."""

    kind: Any
    required: bool
    default: ast.expr | None = None


@dataclass(frozen=True)
class Module:
    """What a source file defines and imports, as far as signatures need it; `ours`: name -> module of the program."""

    classes: dict[str, ast.ClassDef]
    aliases: dict[str, ast.expr]
    ours: dict[str, str]

    @classmethod
    def of(cls, tree: ast.Module) -> "Module":
        """Collects the top level of a file."""
        classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
        assigned = [node for node in tree.body if isinstance(node, ast.Assign)]
        aliases = {t.id: node.value for node in assigned for t in node.targets if isinstance(t, ast.Name)}
        imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
        named = [(name.name, node.module or "") for node in imports for name in node.names]
        return cls(
            classes=classes, aliases=aliases, ours={n: module for n, module in named if module.startswith("dhr.")}
        )


def defines(target: str) -> bool:
    """True if the file behind a dotted name has a class of that name at its top level; nothing is imported."""
    path = _file(target)
    return path is not None and target.rpartition(".")[2] in _module(path).classes


@cache
def parameters(target: str) -> dict[str, Parameter]:
    """Arguments of a class for which `defines` holds, by name, in order."""
    path = _file(target)
    assert path is not None
    module = _module(path)
    found = _of_class(module.classes[target.rpartition(".")[2]], module)
    return {
        name: replace(parameter, kind=NARROWER.get((target, name), parameter.kind)) for name, parameter in found.items()
    }


def keys_of(target: str) -> dict[str, Parameter]:
    """What may stand in the node of a class: its arguments, and beside weights what they saw, which is not for it."""
    known = parameters(target)
    return {**known, SAW: Parameter(str | None, False)} if "weights" in known else known


def with_part_defaults(value: Any) -> Any:
    """A value of a configuration in which every part also has the keys that it leaves out, where they are plain."""
    if isinstance(value, list):
        return [with_part_defaults(each) for each in value]
    if not isinstance(value, Mapping):
        return value
    target = value.get("_target_")
    known = parameters(target) if isinstance(target, str) and defines(target) else {}
    plain = {name: each.default.value for name, each in known.items() if isinstance(each.default, ast.Constant)}
    return {**plain, **{key: with_part_defaults(each) for key, each in value.items()}}


def _file(target: str) -> Path | None:
    if target in THIRD_PARTY:
        package = find_spec(target.partition(".")[0])  # of a top-level package: finds, does not import
        return Path(package.origin).parent / THIRD_PARTY[target] if package and package.origin else None
    module_name = target.rpartition(".")[0]
    if not module_name.startswith("dhr."):
        return None
    module = PACKAGE.joinpath(*module_name.split(".")[1:])
    return next((path for path in (module.with_suffix(".py"), module / "__init__.py") if path.is_file()), None)


@cache
def _module(path: Path) -> Module:
    return Module.of(ast.parse(path.read_text()))


def _of_class(node: ast.ClassDef, module: Module) -> dict[str, Parameter]:
    for statement in node.body:
        if isinstance(statement, ast.FunctionDef) and statement.name == "__init__":
            return _of_init(statement, module)
    bases = [_base(base.id, module) for base in node.bases if isinstance(base, ast.Name)]
    inherited = {name: each for base in bases if base for name, each in _of_class(*base).items()}
    if not any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
        return inherited
    return {**inherited, **_of_fields(node, module)}


def _base(name: str, module: Module) -> tuple[ast.ClassDef, Module] | None:
    """A class that is inherited from, of the same file or of another one of ours, with the file it stands in."""
    if name in module.classes:
        return module.classes[name], module
    path = _file(f"{module.ours[name]}.{name}") if name in module.ours else None
    elsewhere = _module(path) if path is not None else None
    return (elsewhere.classes[name], elsewhere) if elsewhere is not None and name in elsewhere.classes else None


def _of_init(node: ast.FunctionDef, module: Module) -> dict[str, Parameter]:
    positional = [*node.args.posonlyargs, *node.args.args][1:]
    missing = [None] * (len(positional) - len(node.args.defaults))
    pairs = [*zip(positional, [*missing, *node.args.defaults], strict=True)]
    pairs += zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
    return {each.arg: Parameter(_kind(each.annotation, module), value is None, value) for each, value in pairs}


def _of_fields(node: ast.ClassDef, module: Module) -> dict[str, Parameter]:
    found = {}
    for statement in node.body:
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        options = _field_options(statement.value)
        if options.get("init") == "False" or "ClassVar" in ast.unparse(statement.annotation):
            continue
        optional = {"default", "default_factory"} & {*options} if _is_field(statement.value) else statement.value
        found[statement.target.id] = Parameter(_kind(statement.annotation, module), not optional, statement.value)
    return found


def _is_field(value: ast.expr | None) -> bool:
    return isinstance(value, ast.Call) and ast.unparse(value.func).rpartition(".")[2] == "field"


def _field_options(value: ast.expr | None) -> dict[str, str]:
    keywords = value.keywords if isinstance(value, ast.Call) and _is_field(value) else []
    return {keyword.arg: ast.unparse(keyword.value) for keyword in keywords if keyword.arg}


_NAMES: dict[str, Any] = {
    **{
        "int": int,
        "float": float,
        "str": str,
        "bool": bool,
        "Path": str,
        "Any": Any,
        "object": Any,
        "_PATH": str,
        "Module": Part,
    },
    **{"list": list[Any], "tuple": list[Any], "Sequence": list[Any], "dict": dict[str, Any]},
}


def _kind(node: ast.expr | None, module: Module) -> Any:
    """The type an annotation means for a value of a YAML file; Never where no such value can fit, as for a tensor."""
    if node is None:
        return Any
    if isinstance(node, ast.Constant):
        return _kind(ast.parse(node.value, mode="eval").body, module) if isinstance(node.value, str) else None
    if isinstance(node, ast.BinOp):
        return _union([node.left, node.right], module)
    if isinstance(node, ast.Subscript):
        return _subscript(node, module)
    return _named(ast.unparse(node).rpartition(".")[2], module)


def _named(name: str, module: Module) -> Any:
    if name in _NAMES:
        return _NAMES[name]
    if name in module.aliases:
        return _kind(module.aliases[name], module)
    if name in module.classes or name in module.ours:
        return Part
    return Any if name.startswith("_") else Never


def _subscript(node: ast.Subscript, module: Module) -> Any:
    outer = ast.unparse(node.value).rpartition(".")[2]
    inner = list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]
    if outer == "Literal":
        return Literal[tuple(ast.literal_eval(each) for each in inner)]
    read: dict[str, Callable[[], Any]] = {
        "Optional": lambda: _union([inner[0], ast.Constant(None)], module),
        "Union": lambda: _union(inner, module),
        "Annotated": lambda: _kind(inner[0], module),
        "tuple": lambda: tuple.__class_getitem__(tuple(_element(each, module) for each in inner)),
        **dict.fromkeys(("list", "Sequence"), lambda: list[_kind(inner[0], module)]),  # type: ignore[misc]
        **dict.fromkeys(("dict", "Mapping"), lambda: dict[str, _kind(inner[1], module)]),  # type: ignore[misc]
    }
    return read[outer]() if outer in read else Never


def _union(nodes: Sequence[ast.expr], module: Module) -> Any:
    return Union[tuple(_kind(each, module) for each in nodes)]  # noqa: UP007 - a number of types known only here


def _element(node: ast.expr, module: Module) -> Any:
    is_ellipsis = isinstance(node, ast.Constant) and node.value is Ellipsis
    return Ellipsis if is_ellipsis else _kind(node, module)
