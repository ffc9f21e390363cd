"""The style check finds what it promises to find, and nothing else."""

from pathlib import Path

import pytest

from scripts import check_style

LONG_BODY = "\n".join(f"    value_{n} = {n}" for n in range(check_style.FUNCTION_LINES))
STAGE_BODY = "\n".join(f"    value_{n} = {n}" for n in range(check_style.STAGE_LINES))
BLOCK = "".join(f"count_{n} = {n} + 1\n" for n in range(check_style.WINDOW))


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def rules(root: Path) -> list[tuple[str, str]]:
    return [(finding.place, finding.rule) for finding in check_style.find(root)[1]]


def unique_lines(count: int, start: int = 0) -> str:
    return "".join(f"name_{n} = {n}\n" for n in range(start, start + count))


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("dhr/a.py", unique_lines(301), ("dhr/a.py:1", "lines of the file")),
        ("dhr/a.py", f"\n\ndef run():\n{LONG_BODY}\n    return 1\n", ("dhr/a.py:3", "lines of run")),
        ("dhr/stage/a.py", f"\n\ndef run():\n{STAGE_BODY}\n    return 1\n", ("dhr/stage/a.py:3", "lines of run")),
        ("dhr/a.py", "from torch import *\n", ("dhr/a.py:1", "star import")),
        ("dhr/a.py", "try:\n    f()\nexcept Exception:\n    pass\n", ("dhr/a.py:3", "broad except")),
        ("dhr/a.py", "try:\n    f()\nexcept:\n    pass\n", ("dhr/a.py:3", "broad except")),
        ("dhr/a.py", "try:\n    f()\nexcept (OSError, BaseException):\n    pass\n", ("dhr/a.py:3", "broad except")),
        ("dhr/a.py", "x = 1\nx = x.cuda()\n", ("dhr/a.py:2", "device")),
        ("dhr/__init__.py", "import torch\n", ("dhr/__init__.py:1", "import in dhr/__init__.py")),
        ("dhr/crf/a.py", "x = 1\nprint(x)\n", ("dhr/crf/a.py:2", "word in the pure core")),
        ("dhr/crf/a.py", "device = 'cuda:0'\n", ("dhr/crf/a.py:1", "word in the pure core")),
        ("dhr/crf/a.py", "x = image.is_cuda\n", ("dhr/crf/a.py:1", "word in the pure core")),
        ("configs/wss/a.yaml", "a: 1\n" * 26, ("configs/wss/a.yaml:1", "lines of the file")),
        ("README.md", "word " * 701, ("README.md:1", "words")),
    ],
)
def test_finds(tmp_path: Path, path: str, text: str, expected: tuple[str, str]) -> None:
    write(tmp_path, {path: text})
    assert rules(tmp_path) == [expected]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("dhr/a.py", unique_lines(300)),
        ("dhr/a.py", f"def run():\n    '''Says\n    what.\n    '''\n{LONG_BODY}\n"),
        ("dhr/stage/a.py", f"def run():\n{STAGE_BODY}\n"),
        ("dhr/a.py", "def run():\n    '''Only words.'''\n"),
        ("dhr/a.py", "try:\n    f()\nexcept Exception:\n    log()\n    raise\n"),
        ("dhr/a.py", "from pathlib import Path\nprint(torch.cuda.is_available())\n"),
        ("dhr/__init__.py", "import importlib.metadata\nfrom . import errors\n"),
        ("dhr/crf/a.py", "'''Needs no CUDA and does not print.'''\nimport torch\n"),
        ("configs/wss/a.yaml", "a: 1\n" * 25),
        ("configs/dataset/tables/a.yaml", "a: 1\n" * 200),
        ("README.md", "word " * 700),
    ],
)
def test_accepts(tmp_path: Path, path: str, text: str) -> None:
    write(tmp_path, {path: text})
    assert rules(tmp_path) == []


@pytest.mark.parametrize(
    ("body", "depth"),
    [
        ("pass", 0),
        ("if a:\n  pass\n elif b:\n  pass\n elif c:\n  pass", 1),
        ("if a:\n  pass\n else:\n  if b:\n   pass", 2),
        ("with a:\n  for b in c:\n   while d:\n    if e:\n     pass", 4),
        ("try:\n  f()\n except OSError:\n  if a:\n   pass", 2),
        ("match a:\n  case 1:\n   if b:\n    pass", 2),
        ("if a:\n  def inner():\n   if b:\n    pass", 1),
    ],
)
def test_nesting(tmp_path: Path, body: str, depth: int) -> None:
    write(tmp_path, {"dhr/a.py": f"def run():\n {body}\n"})
    (source,) = check_style.read_sources(tmp_path)
    assert check_style.nesting(next(source.functions())) == depth
    assert rules(tmp_path) == ([("dhr/a.py:1", "nesting of run")] if depth > check_style.NESTING else [])


def test_duplicated_lines_name_both_places(tmp_path: Path) -> None:
    write(tmp_path, {"dhr/a.py": BLOCK, "tests/b.py": "import os\n\n" + BLOCK})
    percent, findings = check_style.find(tmp_path)
    assert percent == 100
    assert [(finding.place, finding.found) for finding in findings] == [
        ("all files", "100.0 %"),
        ("dhr/a.py:1", "tests/b.py:3"),
        ("tests/b.py:3", "dhr/a.py:1"),
    ]


@pytest.mark.parametrize(
    ("unique", "block", "allowed"),
    [(0, BLOCK[: BLOCK.rindex("count")], True), (294, BLOCK, True), (293, BLOCK, False)],
    ids=["fewer lines than a window", "12 of 600", "12 of 598"],
)
def test_share_of_duplicated_lines(tmp_path: Path, unique: int, block: str, allowed: bool) -> None:
    write(tmp_path, {"dhr/a.py": unique_lines(unique) + block, "dhr/b.py": unique_lines(unique, 1000) + block})
    assert (check_style.find(tmp_path)[1] == []) is allowed


def test_main_prints_a_table_and_returns_the_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check_style.main([str(tmp_path)]) == 0
    assert capsys.readouterr().out == "style: 0 findings, 0.0 % duplicated lines\n"
    write(tmp_path, {"dhr/a.py": "from torch import *\n"})
    assert check_style.main([str(tmp_path)]) == 1
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].split() == ["place", "rule", "found", "limit"]
    assert printed[1].split("  ") == ["dhr/a.py:1", "star import", "torch", "none"]
