"""A training that is ended by signals, as often as anybody likes, ends as the one that was left alone."""

import multiprocessing
import os
import shutil
import signal
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from test_uss_training_run import METHODS, state, weights
from test_uss_training_run import train as train_head
from tiny import TRAIN, VALIDATION, Tiny
from torch import Tensor

from dhr.disk.atomic import read_json
from dhr.disk.layout import RunFolder
from dhr.disk.weights.state import read_checkpoint
from dhr.runtime.signals import ENDING, Stopped, stopping
from dhr.training.curves import rows_of
from dhr.training.module import SegmentationModule

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
    """Watches the real steps, and lets real signals come in the middle of them, also if a shell had some ignored."""
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
    ignored = [number for number in ENDING if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, signal.SIG_DFL)
    yield steps
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


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


@pytest.mark.slow
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


def test_a_validation_that_was_broken_off_is_made_again(tiny: Tiny, steps: Steps) -> None:
    """The averaged weights, which validation borrows the network for, are back in their place before they are saved."""
    whole = train(tiny, "validated-whole", "rebalancing=none")
    steps.in_validation = {4, STEPS}
    for stop in (4, STEPS):
        with pytest.raises(Stopped):
            train(tiny, "validated", "rebalancing=none", "resume=auto")
        assert read_checkpoint(tiny.run("validated").last)["global_step"] == stop
    assert_same_end(train(tiny, "validated", "rebalancing=none", "resume=auto"), whole)


@pytest.mark.parametrize("place", ["step", "validation"])
def test_loaders_keep_no_process_of_a_training_that_was_ended(tiny: Tiny, steps: Steps, place: str) -> None:
    before = multiprocessing.active_children()
    steps.signals, steps.in_validation = ({2: signal.SIGTERM}, set()) if place == "step" else ({}, {4})
    with pytest.raises(Stopped):
        train(tiny, f"ended-in-{place}", "rebalancing=none", "dataset.workers=1")
    assert multiprocessing.active_children() == before


def kill_at(monkeypatch: pytest.MonkeyPatch, counted: Callable[..., bool], number: int) -> list[int]:
    """A real SIGTERM after the file of that number was put in its place; the list tells how many were."""
    replace, count = os.replace, [0]

    def replaced(source: Any, target: Any, **options: Any) -> None:
        replace(source, target, **options)
        count[0] += counted(Path(target))
        if count[0] == number and counted(Path(target)):
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(os, "replace", replaced)
    return count


def content(folder: Path, suffix: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob(f"*{suffix}") if path.is_file()}


@pytest.mark.parametrize("number", [1, 2, 7, 15, 16])
def test_features_are_completed(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    there = tiny.copy(tmp_path)
    whole = content(there.features, ".pt")
    for path in there.features.iterdir():
        path.unlink()
    with monkeypatch.context() as patch, pytest.raises(Stopped) as stopped, stopping():
        kill_at(patch, lambda path: path.suffix == ".pt", number)
        there.call("extract_uss")
    assert stopped.value.code == 143
    assert len(content(there.features, ".pt")) >= number
    there.call("extract_uss")
    assert content(there.features, "") == whole


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_predictions_are_completed(tiny: Tiny, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    run = tiny.run("validated-whole")
    words = (f"run={run.root}", "crf=none", "overwrite=true")
    tiny.call("predict", *words)
    whole = content(run.masks("validation"), ".png")
    with monkeypatch.context() as patch, pytest.raises(Stopped), stopping():
        kill_at(patch, lambda path: path.suffix == ".png", number)
        tiny.call("predict", *words)
    tiny.call("predict", *words[:2])
    assert content(run.masks("validation"), ".png") == whole and len(whole) == VALIDATION


@pytest.mark.slow
def test_a_round_of_labels_is_completed(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal comes while the labels of the second round are made, which may take hours."""
    words = ("rebalancing=dhr", "refresh=round", "refresh.epochs=2")
    whole = train(tiny, "round-whole", *words)
    run = tiny.run("round")
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        kill_at(patch, lambda path: path.parent.name == "round_1", 5)
        train(tiny, "round", *words, "resume=auto")
    assert (read_json(run.record)["status"], read_checkpoint(run.last)["global_step"]) == ("stopped", 12)
    assert len(content(run.labels(1), ".png")) >= 5
    assert_same_end(train(tiny, "round", *words, "resume=auto"), whole)
    assert content(run.root / "labels", ".png") == content(whole.root / "labels", ".png")


def test_a_tag_classifier_is_trained_to_its_end(tiny: Tiny, tmp_path: Path, at_step: Callable[[int], None]) -> None:
    whole, there = tiny.copy(tmp_path / "whole"), tiny.copy(tmp_path / "there")
    for each in (whole, there):
        shutil.rmtree(each.wss)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        whole.call("train_wss", "cam.epochs=2")
    assert not [str(each.message) for each in said if "pytorch_lightning" in each.filename]
    for stop in (1, 2, 1, 1, 2):  # after steps 1, 3, 4, 5 and 7 of 8
        at_step(stop)
        with pytest.raises(Stopped):
            there.call("train_wss", "cam.epochs=2")
        assert not (there.wss / "classifier.safetensors").exists()
    there.call("train_wss", "cam.epochs=2")
    for suffix in (".png", ".safetensors", ".json"):
        assert content(there.wss, suffix) == content(whole.wss, suffix), suffix


@pytest.mark.parametrize("method", METHODS)
def test_a_head_is_trained_to_its_end(tiny: Tiny, tmp_path: Path, at_step: Callable[[int], None], method: str) -> None:
    whole, there = tiny.copy(tmp_path / "whole"), tiny.copy(tmp_path / "there")
    train_head(whole, method)
    for stop in (1, 1, 2, 3, 2):  # in every stage
        at_step(stop)
        with pytest.raises(Stopped):
            train_head(there, method, "resume=auto")
        assert read_json(state(there, method) / "run.json")["status"] == "stopped"
    train_head(there, method, "resume=auto")
    assert_equal(
        *(dict(read_checkpoint(weights(each, method))) for each in (there, whole)), place=weights(there, method).name
    )
    assert read_json(state(there, method) / "run.json")["status"] == "finished"
