"""The count of rooms: that of the package is as docs/architecture.md says, and what breaks a promise is told."""

import shutil
from pathlib import Path

import pytest

from scripts import rooms

ROOT = Path(__file__).resolve().parents[2]


def test_every_room_imports_only_from_below(capsys: pytest.CaptureFixture[str]) -> None:
    assert rooms.main([]) == 0, capsys.readouterr().out
    assert "circles: none" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("path", "text", "told"),
    [
        ("dhr/core/a.py", "from dhr.stage.train import train\n", "core -> stage"),
        ("dhr/crf/a.py", "import dhr.decoder.rates\n", "crf -> decoder"),
        ("dhr/helper.py", "X = 1\n", "at the root beside commands: helper.py"),
        ("dhr/training/a.py", "from omegaconf import DictConfig\n", "DictConfig is named in: config, stage, training"),
    ],
)
def test_what_breaks_a_promise_is_told(
    path: str, text: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "dhr", tmp_path / "dhr", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / path).write_text(text)
    assert rooms.main([str(tmp_path)]) == 1
    assert told in capsys.readouterr().out
