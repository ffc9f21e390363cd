"""Processes that a scheduler starts at once: none learns from masks before the others have made their part of them."""

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import seeded
from several import TWO, finish_both, finish_two
from tiny import NETWORK, TRAIN, Tiny

from dhr.disk.mask import read_mask

STARTED: dict[str, Callable[[list[str], Path], str]] = {
    "srun": finish_both,
    "torchrun": lambda command, _: finish_two(command),
}


@pytest.mark.slow
def test_masks_before_a_training_are_whole(tiny: Tiny, tmp_path: Path) -> None:
    there = tiny.copy(tmp_path)
    shutil.rmtree(there.wss)
    command = [sys.executable, str(Path(seeded.__file__)), *there.words("train_wss", *TWO)]
    said = finish_both(command, tmp_path)
    assert re.findall(r"(\d+) made, ", said) == [str(TRAIN // 2)] * 4, said  # masks to learn from, and those in the end
    said = finish_both(command, tmp_path)
    assert re.findall(r"(\d+) made, ", said) == ["0"] * 2, said


@pytest.mark.slow
@pytest.mark.parametrize("start", STARTED)
def test_every_process_knows_the_centroids(tiny: Tiny, tmp_path: Path, start: str) -> None:
    """The debiased masks of two processes are those of one."""
    alone, both = tiny.copy(tmp_path / "alone"), tiny.copy(tmp_path / "both")
    words = ("wss=mars", "wss.source=simulated", "dataset.max_epochs=1", *NETWORK)
    alone.call("train_wss", *words)
    STARTED[start](both.command("train_wss", *words, *TWO), tmp_path)
    for image_id in both.layout.ids("train"):
        first, second = (
            read_mask(there.wss.parent / "MARS" / ".debiased" / "train" / f"{image_id}.png") for there in (alone, both)
        )
        assert (first == second).all()
