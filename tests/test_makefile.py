"""`make` works wherever DHR_DATA points."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tiny import ROOT

FOLDERS = ["", "data", "my data", "a (1)'s $x #1", "Bücher", "a:b", "50%", "~/my sets", "~/sets"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_data_may_lie_in_any_folder(tmp_path: Path, folder: str) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).touch()
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / ".installed").touch()
    there = {**os.environ, "DHR_DATA": folder, "HOME": str(tmp_path / "home")}
    done = subprocess.run(
        ["make", "--dry-run", "demo"], cwd=tmp_path, env=there, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    (start,) = {word for word in done.stdout.split() if word.startswith("backbone.weights=")}
    data = (tmp_path / start.partition("=")[2]).parents[3]
    due = folder.replace("~", str(tmp_path / "home")) or "data"
    assert data.resolve() == (tmp_path / due).resolve()
