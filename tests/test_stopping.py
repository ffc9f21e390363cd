"""A training that is ended by signals, as often as anybody likes, ends as the one that was left alone."""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from tiny import TRAIN, VALIDATION, Tiny
from torch import Tensor

from dhr.artifacts import RunFolder, read_json
from dhr.signals import ENDING, Stopped
from dhr.training.curves import rows_of
from dhr.training.module import SegmentationModule
from dhr.weights import read_checkpoint

EPOCHS = 4
STEPS = EPOCHS * TRAIN // 4
# The first, the last of an epoch, the first of the next one, in the middle, the very last one.
STOPS = (1, 2, 4, 5, 7, 8, 9, 11, 13, STEPS)
DROPOUT = "decoder.dropout=[0.5,0.5,0.5]"


@dataclass
class Steps:
    """What every step of a training saw, and where signals come."""

    signals: dict[int, signal.Signals] = field(default_factory=dict)
    in_validation: set[int] = field(default_factory=set)
    seen: dict[int, tuple[Any, ...]] = field(default_factory=dict)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[Steps]:
    """Watches the real steps, and lets real signals come in the middle of them."""
    steps, step, validate = Steps(), SegmentationModule.training_step, SegmentationModule.validation_step

    def watched(self: SegmentationModule, batch: Any, number: int) -> Tensor:
        random = hash(bytes(torch.get_rng_state().tolist()))
        steps.seen[self.global_step] = (batch.ids, random, float(batch.image.sum()))
        loss = step(self, batch, number)
        if self.global_step + 1 in steps.signals:
            os.kill(os.getpid(), steps.signals.pop(self.global_step + 1))
        return loss

    def validated(self: SegmentationModule, picture: Any, number: int) -> None:
        validate(self, picture, number)
        if self.global_step in steps.in_validation and number == VALIDATION // 2:
            steps.in_validation.remove(self.global_step)
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(SegmentationModule, "training_step", watched)
    monkeypatch.setattr(SegmentationModule, "validation_step", validated)
    yield steps


def train(there: Tiny, name: str, *words: str) -> RunFolder:
    there.call("train", "wss=cam", f"name={name}", f"dataset.max_epochs={EPOCHS}", DROPOUT, *words)
    return there.run(name)


def assert_same_end(run: RunFolder, whole: RunFolder) -> None:
    """Bit by bit: weights, averaged weights, optimizer, schedule, loops; and the same curves."""
    found, due = (read_checkpoint(each.last) for each in (run, whole))
    for key in ("state_dict", "current_model_state", "averaging_state", "optimizer_states", "lr_schedulers"):
        assert_equal(found[key], due[key], key)
    assert (found["global_step"], found["epoch"]) == (due["global_step"], due["epoch"])
    for name in ("train/loss", "validation/miou"):
        points = [[(row["step"], row["epoch"], row[name]) for row in rows_of(each.metrics) if row[name]]
                  for each in (run, whole)]  # fmt: skip
        assert points[0] == points[1], name
    assert read_json(run.record)["status"] == "finished"


def assert_equal(found: Any, due: Any, place: str) -> None:
    if isinstance(due, Tensor):
        assert torch.equal(found, due), place
    elif isinstance(due, dict):
        assert found.keys() == due.keys(), place
        for key in due:
            assert_equal(found[key], due[key], f"{place}.{key}")
    elif isinstance(due, list | tuple):
        assert len(found) == len(due), place
        for number, (one, other) in enumerate(zip(found, due, strict=True)):
            assert_equal(one, other, f"{place}.{number}")
    else:
        assert found == due, place


@pytest.mark.parametrize("words", [("rebalancing=dhr", "dataset.workers=0"), ("rebalancing=none", "dataset.workers=2")])
def test_a_run_stopped_at_ten_steps_is_the_whole_run(tiny: Tiny, steps: Steps, words: tuple[str, ...]) -> None:
    name = f"stops{len(words[0])}"
    whole = train(tiny, f"{name}-whole", *words)
    seen, steps.seen = steps.seen, {}
    numbers = [number for number in ENDING for _ in (0, 1)]
    for stop, number in zip(STOPS, numbers, strict=True):
        steps.signals = {stop: number}
        with pytest.raises(Stopped) as stopped:
            train(tiny, name, *words, "resume=auto")
        assert stopped.value.code == 128 + number
        assert read_json(tiny.run(name).record)["status"] == "stopped"
        assert read_checkpoint(tiny.run(name).last)["global_step"] == stop
    assert_same_end(train(tiny, name, *words, "resume=auto"), whole)
    assert steps.seen == seen and len(seen) == STEPS
