"""Two processes do what one does: every image once, one run folder, the same scores."""

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import seeded
from several import TWO, finish, finish_two, with_two
from tiny import EPOCHS, STEPS, TRAIN, VALIDATION, Tiny

from dhr.dataset.datamodule import EpochSampler
from dhr.disk.atomic import read_json


@pytest.fixture(scope="module")
def trained(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """A run of two processes, started by Lightning as a user starts it."""
    there = tiny.copy(tmp_path_factory.mktemp("ddp"))
    finish(there.command("train", "wss=cam", "name=two", *TWO))
    return there


def test_processes_share_out_an_epoch() -> None:
    """Each crop at most once, the same number on every process, in an order that only seed and epoch decide."""
    shares = [EpochSampler(19, batch_size=6, seed=1, rank=rank, ranks=2) for rank in range(2)]
    orders = []
    for epoch in (0, 1, 0):
        for share in shares:
            share.set_epoch(epoch)
        assert [len(list(share)) for share in shares] == [len(share) for share in shares] == [9, 9]
        assert all(key[0] == epoch for share in shares for key in share)
        positions = [key[1] for share in shares for key in share]
        assert len(set(positions)) == 18 and set(positions) <= set(range(19))
        orders.append(positions)
    assert orders[0] == orders[2] != orders[1]


@pytest.mark.slow
def test_training(trained: Tiny) -> None:
    runs = trained.run("two").root.parent
    assert [path.name for path in runs.iterdir()] == ["two"]
    record = read_json(trained.run("two").record)
    assert record["status"] == "finished"
    assert record["steps"] == STEPS
    rows = trained.run("two").metrics.read_text().splitlines()
    place = rows[0].split(",").index("validation/miou")
    assert sum(bool(row.split(",")[place]) for row in rows[1:]) == EPOCHS


@pytest.mark.slow
def test_prediction_and_scores(trained: Tiny) -> None:
    run = trained.run("two")
    said = finish_two(trained.command("predict", f"run={run.root}"))
    assert said.count("2 made, 0 were there") == 2, said
    assert sorted(path.stem for path in run.masks("validation").iterdir()) == trained.layout.ids("validation")
    before = {path: path.read_bytes() for path in run.masks("validation").iterdir()}
    finish_two(trained.command("evaluate", f"run={run.root}"))
    both = read_json(run.scores("validation"))
    trained.call("evaluate", f"run={run.root}")
    alone = read_json(run.scores("validation"))
    assert both["images"] == alone["images"] == VALIDATION
    assert both["confusion"] == alone["confusion"]
    assert {key: both[key] for key in ("miou", "mfpr", "mfnr")} == {key: alone[key] for key in ("miou", "mfpr", "mfnr")}
    trained.call("predict", f"run={run.root}", "overwrite=true")
    assert {path: path.read_bytes() for path in run.masks("validation").iterdir()} == before


@pytest.mark.slow
def test_masks_from_tags(tiny: Tiny, tmp_path: Path) -> None:
    """Two processes train one classifier and share out its masks."""
    there = tiny.copy(tmp_path)
    shutil.rmtree(there.wss)
    said = finish_two(there.command("train_wss", *TWO))
    assert said.count(f"{TRAIN // 2} made, 0 were there") == 2, said
    assert sorted(path.stem for path in (there.wss / "train").iterdir()) == there.layout.ids("train")
    again = finish_two(there.command("train_wss", *TWO))
    assert again.count(f"0 made, {TRAIN // 2} were there") == 2, again


@pytest.mark.slow
@pytest.mark.parametrize("started", [list, with_two], ids=["by Lightning", "by torchrun"])
def test_masks_that_a_training_learns(tiny: Tiny, tmp_path: Path, started: Callable[[list[str]], list[str]]) -> None:
    """What is made before the training is whole when any of the processes begins to learn from it."""
    there = tiny.copy(tmp_path)
    shutil.rmtree(there.wss)
    command = [sys.executable, str(Path(seeded.__file__)), *there.words("train_wss", *TWO)]
    said = finish(started(command))
    shares = [TRAIN // 2] * 4 if started is with_two else [TRAIN, TRAIN // 2, TRAIN // 2]
    assert sorted(re.findall(r"(\d+) made, 0 were there", said), key=int) == sorted(map(str, shares), key=int), said
    for folder in (there.wss / ".seeds" / "train", there.wss / "train"):
        assert sorted(path.stem for path in folder.iterdir()) == there.layout.ids("train")
    again = finish_two(command)
    assert set(re.findall(r"(\d+) made, ", again)) == {"0"}, again
