"""Two processes do what one does: every image once, one run folder, the same scores."""

import subprocess
import sys

import pytest
from tiny import EPOCHS, TRAIN, VALIDATION, Tiny, environment

from dhr.artifacts import read_json

pytestmark = pytest.mark.slow
TWO = ("trainer=ddp", "trainer.devices=2")
LAUNCHER = ("-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone")


@pytest.fixture(scope="module")
def trained(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """A run of two processes, started by Lightning as a user starts it."""
    there = tiny.copy(tmp_path_factory.mktemp("ddp"))
    finish(there.command("train", "wss=cam", "name=two", *TWO))
    return there


def finish(command: list[str]) -> str:
    """Runs a command to its good end."""
    done = subprocess.run(
        command,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def with_two(command: list[str]) -> list[str]:
    """python -m dhr.<verb> ... -> the same under torchrun."""
    return [sys.executable, *LAUNCHER, *command[1:]]


def test_training(trained: Tiny) -> None:
    runs = trained.run("two").root.parent
    assert [path.name for path in runs.iterdir()] == ["two"]
    record = read_json(trained.run("two").record)
    assert record["status"] == "finished"
    assert record["steps"] == EPOCHS * TRAIN // (4 * 2)
    rows = trained.run("two").metrics.read_text().splitlines()
    place = rows[0].split(",").index("validation/miou")
    assert sum(bool(row.split(",")[place]) for row in rows[1:]) == EPOCHS


def test_prediction_and_scores(trained: Tiny) -> None:
    run = trained.run("two")
    said = finish(with_two(trained.command("predict", f"run={run.root}")))
    assert said.count("2 made, 0 were there") == 2, said
    assert sorted(path.stem for path in run.masks("validation").iterdir()) == trained.layout.ids("validation")
    before = {path: path.read_bytes() for path in run.masks("validation").iterdir()}
    finish(with_two(trained.command("evaluate", f"run={run.root}")))
    both = read_json(run.scores("validation"))
    trained.call("evaluate", f"run={run.root}")
    alone = read_json(run.scores("validation"))
    assert both["images"] == alone["images"] == VALIDATION
    assert both["confusion"] == alone["confusion"]
    assert {key: both[key] for key in ("miou", "mfpr", "mfnr")} == {key: alone[key] for key in ("miou", "mfpr", "mfnr")}
    trained.call("predict", f"run={run.root}", "overwrite=true")
    assert {path: path.read_bytes() for path in run.masks("validation").iterdir()} == before
