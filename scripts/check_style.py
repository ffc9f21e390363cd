"""Holds the repository to the limits that ruff does not know; the reasons stand in CONTRIBUTING.md.

    python scripts/check_style.py [folder]

Prints one row per finding and ends with exit code 1 if there is any. Uses the standard library only.
"""

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

FUNCTION_LINES = 40
STAGE_LINES = 50  # a stage reads from top to bottom, step after step
FILE_LINES = 300
NESTING = 3
README_WORDS = 700
YAML_LINES = 25
DUPLICATED_PERCENT = 2.0
WINDOW = 6  # equal lines in a row from which on they count as duplicated

CODE_FOLDERS = ("dhr", "scripts", "tests", "benchmarks")
TABLE_FOLDER = "tables"  # class names and palettes: data, not settings
STAGE_FOLDER = "dhr/stage/"
PURE_FOLDERS = ("dhr/rebalancing/", "dhr/crf/")
BROAD_EXCEPTIONS = frozenset({"Exception", "BaseException"})
DEVICE_WORD = re.compile("cuda", re.IGNORECASE)
TRIVIAL_LINE = re.compile(r"[\W_]*|#.*|import .*|from \S+ import .*")

Function = ast.FunctionDef | ast.AsyncFunctionDef
Block = ast.If | ast.For | ast.AsyncFor | ast.While | ast.With | ast.AsyncWith | ast.Try | ast.TryStar | ast.Match


@dataclass(frozen=True)
class Finding:
    """One row of the table: where, what is measured, what was found, what is allowed."""

    place: str
    rule: str
    found: str
    limit: str


@dataclass(frozen=True)
class Source:
    """A Python file: path relative to the repository, text and syntax tree."""

    path: str
    text: str
    tree: ast.Module

    def finding(self, node: ast.AST, rule: str, found: object, limit: object) -> Finding:
        """A finding at the line of `node`."""
        return Finding(f"{self.path}:{getattr(node, 'lineno', 1)}", rule, str(found), str(limit))

    def functions(self) -> Iterator[Function]:
        """All functions and methods, nested ones too."""
        return (node for node in ast.walk(self.tree) if isinstance(node, Function))

    def imports(self) -> Iterator[tuple[ast.stmt, str]]:
        """Every import statement with the full name of the module; relative imports are left out."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((node, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                yield node, node.module or ""


def body_lines(function: Function) -> int:
    """Lines from the first statement after the docstring to the end of the function."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (function.end_lineno or 0) - body[0].lineno + 1 if body else 0


def nesting(node: ast.AST, level: int = 0) -> int:
    """Deepest level of blocks inside `node`; an elif stays on the level of its if, inner functions count alone."""
    inner = [child for child in ast.iter_child_nodes(node) if not isinstance(child, Function | ast.ClassDef)]
    return max([level, *(nesting(child, level + _opens_level(node, child)) for child in inner)])


def _opens_level(parent: ast.AST, child: ast.AST) -> bool:
    is_elif = isinstance(parent, ast.If) and isinstance(child, ast.If) and parent.col_offset == child.col_offset
    return isinstance(child, Block) and not is_elif


def long_functions(source: Source) -> Iterator[Finding]:
    """Functions whose body is longer than a screen."""
    limit = STAGE_LINES if source.path.startswith(STAGE_FOLDER) else FUNCTION_LINES
    for function in source.functions():
        if body_lines(function) > limit:
            yield source.finding(function, f"lines of {function.name}", body_lines(function), limit)


def deep_functions(source: Source) -> Iterator[Finding]:
    """Functions with blocks inside blocks inside blocks."""
    for function in source.functions():
        if nesting(function) > NESTING:
            yield source.finding(function, f"nesting of {function.name}", nesting(function), NESTING)


def long_file(source: Source) -> Iterator[Finding]:
    """A file that holds more than one thing."""
    lines = len(source.text.splitlines())
    if lines > FILE_LINES:
        yield source.finding(source.tree, "lines of the file", lines, FILE_LINES)


def banned_statements(source: Source) -> Iterator[Finding]:
    """Star imports, exception handlers that catch all and go on, and `.cuda()`."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
            yield source.finding(node, "star import", node.module, "none")
        elif isinstance(node, ast.ExceptHandler) and _is_broad(node):
            yield source.finding(node, "broad except", ast.unparse(node.type) if node.type else "bare", "none")
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "cuda":
            yield source.finding(node, "device", ".cuda(", ".to(device)")


def _is_broad(handler: ast.ExceptHandler) -> bool:
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    broad = any(kind is None or ast.unparse(kind) in BROAD_EXCEPTIONS for kind in caught)
    return broad and not any(isinstance(node, ast.Raise) for node in ast.walk(handler))


def pure_core(source: Source) -> Iterator[Finding]:
    """The mathematics knows no console and no device; what it may import, import-linter knows."""
    if not source.path.startswith(PURE_FOLDERS):
        return
    for node, word in _words(source.tree):
        if word == "print" or DEVICE_WORD.search(word):
            yield source.finding(node, "word in the pure core", word, "none")


def _words(tree: ast.Module) -> Iterator[tuple[ast.AST, str]]:
    """Names, attributes and strings, without the strings that stand alone as documentation."""
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node, node.id
        elif isinstance(node, ast.Attribute):
            yield node, node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node, node.value


def light_package(source: Source) -> Iterator[Finding]:
    """`import dhr` must cost nothing: every command line tool starts with it."""
    if source.path != "dhr/__init__.py":
        return
    for node, module in source.imports():
        if module.partition(".")[0] not in sys.stdlib_module_names:
            yield source.finding(node, "import in dhr/__init__.py", module, "standard library")


CHECKS: tuple[Callable[[Source], Iterator[Finding]], ...] = (
    long_file,
    long_functions,
    deep_functions,
    banned_statements,
    pure_core,
    light_package,
)


def too_many_words(root: Path) -> Iterator[Finding]:
    """A README that nobody reads to its end."""
    readme = root / "README.md"
    words = len(readme.read_text(encoding="utf-8").split()) if readme.exists() else 0
    if words > README_WORDS:
        yield Finding("README.md:1", "words", str(words), str(README_WORDS))


def long_settings(root: Path) -> Iterator[Finding]:
    """YAML files of configs/ that do not fit on one look; tables of data may."""
    for path in sorted((root / "configs").rglob("*.yaml")):
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > YAML_LINES and path.parent.name != TABLE_FOLDER:
            yield Finding(f"{path.relative_to(root).as_posix()}:1", "lines of the file", str(lines), str(YAML_LINES))


@dataclass(frozen=True)
class Line:
    """A line that says something: where it stands, without its indentation."""

    place: str
    text: str


def telling_lines(source: Source) -> list[Line]:
    """Lines of a file without blank ones, comments, imports and lone punctuation."""
    numbered = enumerate((line.strip() for line in source.text.splitlines()), start=1)
    return [Line(f"{source.path}:{n}", line) for n, line in numbered if not TRIVIAL_LINE.fullmatch(line)]


def duplicated_places(files: Sequence[Sequence[Line]]) -> dict[str, str]:
    """Place of every line inside a window of equal lines, with the place of an equal line elsewhere."""
    windows = defaultdict(list)
    for lines in files:
        for start in range(len(lines) - WINDOW + 1):
            window = lines[start : start + WINDOW]
            windows[tuple(line.text for line in window)].append([line.place for line in window])
    repeated = [copies for copies in windows.values() if len(copies) > 1]
    pairs = [(copy, copies[1] if copy is copies[0] else copies[0]) for copies in repeated for copy in copies]
    return {place: other for copy, others in pairs for place, other in zip(copy, others, strict=True)}


def duplicated_lines(sources: Sequence[Source]) -> tuple[float, list[Finding]]:
    """Percentage of telling lines that stand elsewhere too, and the places if it is over the limit."""
    files = [telling_lines(source) for source in sources]
    duplicated = duplicated_places(files)
    percent = 100 * len(duplicated) / max(1, sum(len(lines) for lines in files))
    if percent <= DUPLICATED_PERCENT:
        return percent, []
    total = Finding("all files", "duplicated lines", f"{percent:.1f} %", f"{DUPLICATED_PERCENT} %")
    return percent, [total, *(finding for lines in files for finding in _first_of_each_run(lines, duplicated))]


def _first_of_each_run(lines: Sequence[Line], duplicated: dict[str, str]) -> Iterator[Finding]:
    for before, line in zip([None, *lines], lines, strict=False):
        if line.place in duplicated and (before is None or before.place not in duplicated):
            yield Finding(line.place, "also at", duplicated[line.place], "once")


def read_sources(root: Path) -> list[Source]:
    """All Python files of the code folders, in the order of their paths."""
    paths = sorted(path for folder in CODE_FOLDERS for path in (root / folder).rglob("*.py"))
    texts = [(path.relative_to(root).as_posix(), path.read_text(encoding="utf-8")) for path in paths]
    return [Source(path, text, ast.parse(text, filename=path)) for path, text in texts]


def find(root: Path) -> tuple[float, list[Finding]]:
    """Percentage of duplicated lines and all findings of a repository."""
    sources = read_sources(root)
    percent, duplicates = duplicated_lines(sources)
    in_code = [finding for source in sources for check in CHECKS for finding in check(source)]
    return percent, [*in_code, *long_settings(root), *too_many_words(root), *duplicates]


def table(findings: Sequence[Finding]) -> str:
    """Findings as aligned columns under a head line."""
    head = Finding("place", "rule", "found", "limit")
    rows = [(row.place, row.rule, row.found, row.limit) for row in (head, *findings)]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    padded = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in padded)


def main(arguments: Sequence[str]) -> int:
    """Checks the folder named first, by default the repository of this file; returns the exit code."""
    root = Path(arguments[0]) if arguments else Path(__file__).resolve().parent.parent
    percent, findings = find(root)
    if findings:
        print(table(findings))
    print(f"style: {len(findings)} findings, {percent:.1f} % duplicated lines")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
