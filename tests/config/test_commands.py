"""The commands as they are typed: exit codes, Hydra's conventions, sweeps."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from signal import SIGPIPE

import pytest

from dhr.config.command import _unread
from dhr.config.compose import compose, find_plugins

ROOT = Path(__file__).resolve().parents[2]
TINY = ("dataset.generate.train=1", "dataset.generate.validation=1")


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Runs `python -m dhr.<words>` in a folder."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", f"dhr.{words[0]}", *words[1:]]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("words", [("train", "tau=1.5"), ("train", "-m", "tau=0.6,1.5"), ("prepare", "datset=voc")])
def test_a_wrong_command_stops_early_and_leaves_nothing(tmp_path: Path, words: tuple[str, ...]) -> None:
    before = os.times().children_user
    done = run(tmp_path, *words)
    assert done.returncode == 2
    assert "1.5" in done.stderr or "did you mean dataset?" in done.stderr
    assert "Traceback" not in done.stderr
    assert os.times().children_user - before < 3  # of processor time: other work on the machine does not count
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    done = run(tmp_path, "train", "tau=1.5", "debug=true")
    assert done.returncode == 2
    assert "Traceback" in done.stderr


def test_wrong_input_found_by_the_job_itself(tmp_path: Path) -> None:
    done = run(tmp_path, "prepare", "dataset=voc")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("source: null")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("verb", ["train", "labels", "evaluate", "doctor"])
def test_help_names_the_command(tmp_path: Path, verb: str) -> None:
    done = run(tmp_path, verb, "--help")
    assert done.returncode == 0
    assert f"python -m dhr.{verb}" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_nobody_reads_the_output(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "dhr.predict", "--help"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (128 + SIGPIPE, b"")


def test_a_broken_pipe_to_another_process_is_no_end_without_a_word() -> None:
    with pytest.raises(BrokenPipeError), _unread():
        raise BrokenPipeError


def test_cfg_job_shows_the_configuration_without_torch(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise SystemExit('torch was imported')\n")  # the working folder comes first
    done = run(tmp_path, "train", "--cfg", "job", "dataset=voc", "tau=0.7", "backbone.weights=/a (1)", "crf.workers=3")
    assert done.returncode == 0
    assert "weights: /a (1)" in done.stdout
    assert "tau: 0.7" in done.stdout
    assert "hydra" not in done.stdout


def test_a_sweep_leaves_finished_runs_alone(tmp_path: Path) -> None:
    for name in ("simulated-dhr-resnet18_half-seed1-tau0.6", "simulated-dhr-resnet18_half-seed1"):
        folder = tmp_path / "outputs" / "toy" / "runs" / name
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps({"status": "finished"}))
    done = run(tmp_path, "train", "-m", "tau=0.6,0.8")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("is finished: left as it is") == 2


@pytest.mark.slow
def test_a_sweep_goes_on_after_a_failed_job(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    done = run(tmp_path, "prepare", "-m", "paths.data=file,good", *TINY)
    assert done.returncode == 2
    assert "job failed with exit code 2: paths.data=file" in done.stdout
    assert (tmp_path / "good" / "Toy" / "train" / "image").is_dir()


@pytest.mark.parametrize(
    ("words", "swept", "name"),
    [
        (["tau=0.6"], ["tau=0.6"], "simulated-dhr-resnet18_half-seed1-tau0.6"),
        (["++tau=0.6", "name=mine"], ["++tau=0.6"], "mine-tau0.6"),
        (["crf=none", "seed=2"], ["crf=none", "seed=2"], "simulated-dhr-resnet18_half-seed2-crf_none"),
        (["++optimizer.head_lr=0.01"], ["++optimizer.head_lr=0.01"], "simulated-dhr-resnet18_half-seed1-head_lr0.01"),
        (["dataset=voc"], ["dataset=voc"], "mars-dhr-resnet101-seed1"),
        (["experiment=reproduce_voc", "seed=5"], ["seed=5"], "reproduce_voc-seed5"),
    ],
)
def test_names_in_a_sweep(words: list[str], swept: list[str], name: str) -> None:
    find_plugins()
    launcher = importlib.import_module("hydra_plugins.dhr_launcher")
    assert launcher.sweep_name(compose("train", words), swept) == name
