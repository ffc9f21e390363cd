"""What a part takes, read from its source: no wrong word waits for torch, and `--cfg job` and sweeps go without it.

Tests compare every part with what `inspect` says of it.
"""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from types import SimpleNamespace
from typing import Any, get_type_hints

from pydantic import create_model

from dhr.config.kinds import Part, Section
from dhr.config.outside import outside_file
from dhr.config.provenance import BROUGHT, SAW, Saw
from dhr.config.trainer import Trainer
from dhr.config.tree import PACKAGE

LIGHT = ("typing", "annotated_types", "dhr.core.ranges")  # imported for what types are made of; other names are parts
NOT_OURS: dict[str, type[Section]] = {"pytorch_lightning.Trainer": Trainer}
PLAIN = (  # of what annotations of others may consist
    *(ast.Name, ast.Attribute, ast.Subscript, ast.Tuple, ast.List, ast.Constant, ast.Call, ast.keyword, ast.Load),
    *(ast.BinOp, ast.BitOr, ast.UnaryOp, ast.USub),
)
UNREAD = object()  # a default that is computed
Written = tuple[str, ast.expr | None, ast.expr | None]  # name, annotation, default of an argument


def defines(target: str) -> bool:
    """True if the file behind a dotted name has a class of that name at its top level; nothing is imported."""
    return target in NOT_OURS or _find(target) is not None


@cache
def section_of_part(target: str, supplied: frozenset[str] = frozenset()) -> type[Section]:
    """The keys of a node of a class for which `defines` holds: its arguments, and what it saw, if that can be."""
    if target in NOT_OURS:
        return NOT_OURS[target]
    keys = {key: argument for key, argument in arguments(target).items() if key not in supplied}
    if not keys.keys().isdisjoint(BROUGHT):
        keys[SAW] = (Saw | None, None)
    return create_model(target.rpartition(".")[2], __base__=Section, **keys)  # type: ignore[call-overload]


def with_part_defaults(value: Any) -> Any:
    """A value of a configuration in which every part also has the keys that it leaves out, where they are plain."""
    if isinstance(value, list):
        return [with_part_defaults(element) for element in value]
    if not isinstance(value, Mapping):
        return value
    target = value.get("_target_")
    fields = section_of_part(target).model_fields if isinstance(target, str) and defines(target) else {}
    optional = {key: field.default for key, field in fields.items() if not field.is_required()}
    plain = {key: default for key, default in optional.items() if default is not UNREAD}
    return {**plain, **{key: with_part_defaults(inner) for key, inner in value.items()}}


@cache
def arguments(target: str) -> dict[str, tuple[Any, Any]]:
    """Type and default of every argument of a class of ours, in order; the default is ... where there is none."""
    found = _find(target)
    if found is None:  # a base of somebody else's
        return {}
    source, node = found
    for statement in node.body:
        if isinstance(statement, ast.FunctionDef) and statement.name == "__init__":
            return {name: (source.type_of(kind), _default(value)) for name, kind, value in _of_init(statement.args)}
    inherited: dict[str, tuple[Any, Any]] = {}
    for base in map(ast.unparse, node.bases):
        inherited |= arguments(f"{source.origins.get(base, target.rpartition('.')[0])}.{base}")
    if not any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
        return inherited
    return {**inherited, **{name: (source.type_of(kind), _default(value)) for name, kind, value in _of_fields(node)}}


@cache
def unreadable(target: str) -> str | None:
    """Why the signature of a class of another package cannot be read, with a cure; None where it can.

    Annotations are evaluated, so those that would call something are refused first.
    """
    module, _, name = target.rpartition(".")
    try:
        found = _find(target)
        if found is None:
            return f"{module} has no class {name} at its top level; correct the entry point"
        for problem in _unclear(*found):
            return problem
        section_of_part(target)
    except (AttributeError, ImportError, NameError, RecursionError, SyntaxError, TypeError, ValueError) as error:
        return f"its arguments cannot be read ({error}); give them plain types and ranges"
    return None


def _unclear(source: "SourceFile", node: ast.ClassDef) -> Iterator[str]:
    """What is wrong with the arguments of a class of others."""
    inits = [each.args for each in node.body if isinstance(each, ast.FunctionDef) and each.name == "__init__"]
    if any(given.vararg or given.kwarg for given in inits):
        yield f"{node.name} takes any argument (* or **); name those that a configuration may set"
    for key, annotation, _ in [argument for given in inits for argument in _of_init(given)] or _of_fields(node):
        if annotation is None:
            yield f"{node.name}: {key} has no type; write its range, as in {key}: Annotated[int, Ge(1), Le(100)]"
        elif not source.is_plain(annotation):
            yield f"{node.name}: {key}: {ast.unparse(annotation)} is not made of types and ranges; write those"


def _of_init(given: ast.arguments) -> Iterator[Written]:
    positional = [*given.posonlyargs, *given.args][1:]
    missing = [None] * (len(positional) - len(given.defaults))
    defaults = [*missing, *given.defaults, *given.kw_defaults]
    for argument, default in zip([*positional, *given.kwonlyargs], defaults, strict=True):
        yield argument.arg, argument.annotation, default


def _of_fields(node: ast.ClassDef) -> Iterator[Written]:
    for field in node.body:
        if not isinstance(field, ast.AnnAssign) or "ClassVar" in ast.unparse(field.annotation):
            continue
        if field.value is None or "init=False" not in ast.unparse(field.value):
            yield ast.unparse(field.target), field.annotation, field.value


def _default(written: ast.expr | None) -> Any:
    try:
        value = ... if written is None else ast.literal_eval(written)
    except ValueError:
        return UNREAD
    return [*value] if isinstance(value, tuple) else value


@dataclass(frozen=True)
class SourceFile:
    """A file of the program: its classes, its assignments, and the modules that its other names come from."""

    classes: dict[str, ast.ClassDef]
    assigned: dict[str, ast.expr]
    origins: dict[str, str]

    def type_of(self, annotation: ast.expr | None) -> Any:
        """The type that an annotation means, every class in it a `Part`."""
        if annotation is None:
            return Any
        words: dict[str, Any] = {}
        for node in ast.walk(annotation):
            if isinstance(node, ast.Attribute):
                words[ast.unparse(node.value)] = SimpleNamespace(**{node.attr: Part})  # nn.Module
            elif isinstance(node, ast.Name) and node.id not in words:
                words |= self._meaning(node.id)
        written = SimpleNamespace(__annotations__={"kind": ast.unparse(annotation)})
        return get_type_hints(written, words, include_extras=True)["kind"]

    def is_plain(self, annotation: ast.expr) -> bool:
        """Whether a type is made of names, unions, brackets and constants, and calls ranges alone."""
        ranges = {name for name, origin in self.origins.items() if origin == "annotated_types"}
        for node in ast.walk(annotation):
            if isinstance(node, ast.Call) and not (isinstance(node.func, ast.Name) and node.func.id in ranges):
                return False
            if not isinstance(node, PLAIN):
                return False
            if isinstance(node, ast.Name) and node.id in self.assigned and not self.is_plain(self.assigned[node.id]):
                return False
        return True

    def _meaning(self, name: str) -> dict[str, Any]:
        """Nothing for what Python itself has, such as `int`."""
        if self.origins.get(name) in LIGHT:
            return {name: getattr(import_module(self.origins[name]), name)}
        if name in self.assigned:
            return {name: self.type_of(self.assigned[name])}
        return {name: Part} if name in self.classes or name in self.origins else {}


def _find(target: str) -> tuple[SourceFile, ast.ClassDef] | None:
    module, _, name = target.rpartition(".")
    ours = module.startswith("dhr.")
    source = _source(module) if ours or outside_file(module) is not None else SourceFile({}, {}, {})
    return (source, source.classes[name]) if name in source.classes else None


@cache
def _source(module: str) -> SourceFile:
    place = PACKAGE.joinpath(*module.split(".")[1:])
    path = next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()), None)
    path = path if module.startswith("dhr.") else outside_file(module)
    body = ast.parse(path.read_bytes()).body if path is not None else []
    inside = module.split(".") if path is not None and path.stem == "__init__" else module.split(".")[:-1]
    return SourceFile(
        classes={node.name: node for node in body if isinstance(node, ast.ClassDef)},
        assigned={ast.unparse(node.targets[0]): node.value for node in body if isinstance(node, ast.Assign)},
        origins={
            name.asname or name.name: ".".join([*inside[: len(inside) + 1 - node.level], *([node.module or ""])])
            if node.level
            else node.module or ""
            for node in body
            if isinstance(node, ast.ImportFrom)
            for name in node.names
        },
    )
