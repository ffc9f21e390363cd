"""What the doctor says of a machine, and that other libraries' settings are read as they read them."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tiny import Tiny, environment
from wandb.sdk import wandb_setup

from dhr.disk.layout import RunFolder
from dhr.runtime.progress import progress
from dhr.stage.doctor import table_of
from dhr.stage.installation import DoctorRow, findings
from dhr.training.bars import BAR, knows
from dhr.training.loggers import make_loggers
from dhr.training.wandb_account import wandb_mode

KEY = "a" * 40
LOGIN = f"machine api.wandb.ai\n  login user\n  password {KEY}\n"
OWN = f"machine wandb.my.org\n  login user\n  password {KEY}\n"
ACCOUNT: dict[str, Any] = {"project": "p", "entity": None, "group": None, "tags": None}
OFFLINE = "[default]\nmode = offline\n"
MACHINES: list[tuple[str, dict[str, str], dict[str, str], str]] = [  # variables, files in the home folder, mode
    ("nothing", {}, {}, "offline"),
    ("a login", {}, {".netrc": LOGIN}, "online"),
    ("a login on Windows", {}, {"_netrc": LOGIN}, "online"),
    ("a login elsewhere", {}, {".netrc": LOGIN.replace("api.wandb.ai", "github.com")}, "offline"),
    ("a login everywhere", {}, {".netrc": f"default\n  login user\n  password {KEY}\n"}, "online"),
    ("a login without a key", {}, {".netrc": "machine api.wandb.ai\n  login user\n"}, "offline"),
    ("a torn file", {}, {".netrc": "machine"}, "offline"),
    ("another file", {"NETRC": "~/mine"}, {"mine": LOGIN}, "online"),
    ("another file alone", {"NETRC": "~/mine"}, {".netrc": LOGIN}, "offline"),
    ("a server of one's own", {"WANDB_BASE_URL": "https://wandb.my.org"}, {".netrc": OWN}, "online"),
    ("the key of another server", {"WANDB_BASE_URL": "https://wandb.my.org"}, {".netrc": LOGIN}, "offline"),
    ("a key", {"WANDB_API_KEY": KEY}, {}, "online"),
    ("offline with a key", {"WANDB_API_KEY": KEY, "WANDB_MODE": "offline"}, {}, "offline"),
    ("dryrun with a login", {"WANDB_MODE": "dryrun"}, {".netrc": LOGIN}, "offline"),
    ("disabled", {"WANDB_MODE": "disabled"}, {".netrc": LOGIN}, "disabled"),
    ("online without a key", {"WANDB_MODE": "online"}, {}, "online"),
    ("wandb offline", {}, {".netrc": LOGIN, ".config/wandb/settings": OFFLINE}, "offline"),
    ("a key in its settings", {}, {".config/wandb/settings": f"[default]\napi_key = {KEY}\n"}, "online"),
]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty home folder, and a wandb that has not looked around yet."""
    for name in [name for name in os.environ if name.startswith("WANDB_") or name == "NETRC"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(wandb_setup, "_singleton", None)
    return tmp_path


@pytest.mark.parametrize(
    ("variables", "files", "mode"), [each[1:] for each in MACHINES], ids=[each[0] for each in MACHINES]
)
def test_wandb_goes_online_where_it_would_itself(
    monkeypatch: pytest.MonkeyPatch, machine: Path, variables: dict[str, str], files: dict[str, str], mode: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for name, text in files.items():
        (machine / name).parent.mkdir(parents=True, exist_ok=True)
        (machine / name).write_text(text)
    assert wandb_mode("auto") == mode
    (said,) = [each for each in findings(machine, machine, {}) if each.name == "wandb"]
    assert (said.state == "optional", "disabled" in said.found) == (mode == "offline", mode == "disabled")
    assert [wandb_mode(each) for each in ("online", "offline", "disabled")] == ["online", "offline", "disabled"]


@pytest.mark.parametrize(("told", "warnings"), [("disabled", 0), ("nonsense", 1)])
def test_a_run_does_without_wandb(
    monkeypatch: pytest.MonkeyPatch, machine: Path, caplog: pytest.LogCaptureFixture, told: str, warnings: int
) -> None:
    monkeypatch.setenv("WANDB_MODE", told)
    loggers = make_loggers(RunFolder(machine / "run"), {}, name="wandb", mode="auto", **ACCOUNT)
    assert [type(each).__name__ for each in loggers] == ["Curves"]
    assert len([each for each in caplog.messages if "logger=wandb: cannot start" in each]) == warnings
    monkeypatch.setattr(wandb_setup, "_singleton", None)
    (said,) = [each for each in findings(machine, machine, {}) if each.name == "wandb"]
    assert told in said.found


# Packages that are not there

WITHOUT = """
import json, runpy, sys

class Without:  # finds what the others find, but for some packages
    def __init__(self, packages):
        self.packages, self.others = packages, list(sys.meta_path)

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.packages:
            return None
        return next((spec for each in self.others if (spec := each.find_spec(name, path, target))), None)

    def find_distributions(self, *context):
        return (found for each in self.others if hasattr(each, "find_distributions")
                for found in each.find_distributions(*context))

sys.meta_path[:] = [Without({"wandb", "numba", "pydensecrf"})]
for words in json.loads(sys.argv[1]):
    sys.argv = words
    try:
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code
    for stream in (sys.stdout, sys.stderr):
        stream.write(f"\f{code}\f")
        stream.flush()
"""


def without(*commands: Sequence[str]) -> Iterator[tuple[int, str, str]]:
    """Exit codes, output and errors of `python -m dhr.<verb> ...` where wandb, numba and pydensecrf are not installed.

    The commands follow each other in one process: the imports are what takes time.
    """
    command = [sys.executable, "-c", WITHOUT, json.dumps(commands)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    said, errors = done.stdout.split("\f"), done.stderr.split("\f")
    assert len(said) == len(errors) == 2 * len(commands) + 1, done.stderr
    return ((int(said[n + 1]), said[n], errors[n]) for n in range(0, 2 * len(commands), 2))


def test_what_is_done_without_some_packages(tiny: Tiny) -> None:
    """A part that needs one is refused in words, and a run needs none that it does not use."""
    parts = [("native", "numba", "numba"), ("pydensecrf", "pydensecrf", "pydensecrf2")]
    words = tiny.words("train", "wss=cam", "crf=auto", "crf.workers=0", "dataset.max_epochs=1", "logger=wandb")
    *refused, (code, said, errors) = without(
        *(["dhr.train", *tiny.words("train", f"crf={crf}", "name=refused")] for crf, *_ in parts),
        ["dhr.train", *words, "rebalancing.start_epoch=0", "name=without"],
    )
    for (crf, package, name), (code_of_part, _, told) in zip(parts, refused, strict=True):
        assert code_of_part == 2 and not tiny.run("refused").root.exists()
        (line,) = told.splitlines()
        assert line.startswith(f"crf: dhr.crf.{crf}.") and f"needs {package}" in line
        assert f"; pip install {name}," in line
    assert code == 0, errors
    assert "logger=wandb: No module named 'wandb'; pip install wandb, or logger=csv; the curves are in" in said
    assert tiny.run("without").metrics.is_file()


@pytest.mark.parametrize(
    ("name", "mode", "warnings"), [("csv", "auto", 0), ("wandb", "disabled", 0), ("wandb", "auto", 1)]
)
def test_wandb_is_missed_only_where_it_is_meant(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    name: str,
    mode: str,
    warnings: int,
) -> None:
    for module in [module for module in sys.modules if module.partition(".")[0] == "wandb"]:
        monkeypatch.setitem(sys.modules, module, None)
    loggers = make_loggers(RunFolder(tmp_path), {}, name=name, mode=mode, **ACCOUNT)
    assert len(loggers) == 1 and len(caplog.messages) == warnings


# Terminals

ROWS = [
    DoctorRow("weights", "Gewichte für [b]", "ok", "데이터 [bold].pt"),
    DoctorRow("voc", "/[red]d", "missing", "", "x" * 90),
]


def written(encoding: str, width: int, *, errors: str = "backslashreplace") -> str:
    """What a terminal shows of the table."""
    kept = io.BytesIO()
    file = io.TextIOWrapper(kept, encoding, errors)
    Console(file=file, width=width).print(table_of(ROWS))
    file.flush()
    return kept.getvalue().decode(encoding)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-8"])
def test_the_doctor_speaks_to_every_terminal(encoding: str) -> None:
    said = written(encoding, 300)
    assert all(word in said for word in ("[b]", "[bold].pt", "/[red]d"))
    assert ("데이터" in said, "für" in said) == (encoding == "utf-8", encoding != "ascii")


@pytest.mark.parametrize("width", [40, 80, 200])
def test_no_cure_is_cut_where_the_terminal_is_narrow(width: int) -> None:
    assert written("utf-8", width, errors="strict").count("x") == 90


def test_a_command_writes_to_a_terminal_that_knows_few_letters(tmp_path: Path) -> None:
    there = {**environment(), "HOME": str(tmp_path), "COLUMNS": "200", "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "dhr.doctor", f"paths.data={tmp_path}/d", "paths.weights=Gewichte für [b]"]
    done = subprocess.run(command, cwd=tmp_path, env=there, capture_output=True, check=False)
    assert (done.returncode, done.stderr, b"f\\xfcr" in done.stdout) == (0, b"", True)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp1252", "none such"])
def test_bars_are_drawn_with_signs_that_a_terminal_knows(encoding: str) -> None:
    assert knows(encoding, BAR) == (encoding == "utf-8")


@pytest.mark.parametrize("title", ["[red]", "predict [/b]", "{task}", "%s"])
def test_a_bar_shows_its_title_as_it_is(capsys: pytest.CaptureFixture[str], title: str) -> None:
    assert list(progress([1, 2], title)) == [1, 2]
    assert title in capsys.readouterr().out
