"""When labels are made anew: whole images in rounds, read by the epochs that follow, whatever interrupts the run."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from refreshing import Spy, relabelled, statistics_of
from several import TWO, finish_two
from tiny import SIDE, TRAIN, Tiny

import dhr.disk.output
import dhr.training.bars
from dhr.dataset.split import MaskFolder
from dhr.disk.atomic import read_json, write_atomically
from dhr.disk.layout import RunFolder
from dhr.disk.mask import read_mask, write_mask
from dhr.disk.weights.state import read_checkpoint
from dhr.training.refresh import RoundMasks

# Round 0 is made before epoch 1, round 1 before epoch 3. Dropout draws from a state that nobody stores.
ROUNDS = ("wss=cam", "refresh=round", "refresh.epochs=2", "dataset.max_epochs=4", "decoder.dropout=[0,0,0]")
MARK = 3  # a class that is painted over a label, to see who reads it


class StopError(Exception):
    """What ends a run before its time."""


@pytest.fixture
def train(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Spy]:
    def run(*words: str, at: Callable[[int], None] = lambda epoch: None, spy: bool = True) -> Spy:
        watching = Spy(at)
        monkeypatch.setattr(dhr.training.bars, "progress_bar", lambda: watching)
        tiny.call("train", *ROUNDS, *words)
        return watching

    return run


@pytest.fixture(scope="module")
def whole(tiny: Tiny) -> RunFolder:
    """An uninterrupted run."""
    tiny.call("train", *ROUNDS, "name=whole")
    return tiny.run("whole")


def labels_of(run: RunFolder, number: int) -> dict[str, bytes]:
    return {path.stem: path.read_bytes() for path in run.labels(number).iterdir()}


def times_of(run: RunFolder, number: int) -> dict[str, int]:
    return {path.stem: path.stat().st_mtime_ns for path in run.labels(number).iterdir()}


def assert_same_weights(run: RunFolder, other: RunFolder) -> None:
    first, second = (read_checkpoint(each.checkpoints / "last.ckpt") for each in (run, other))
    for key in ("state_dict", "current_model_state"):
        for name, value in first[key].items():
            torch.testing.assert_close(second[key][name], value, rtol=1e-4, atol=1e-6)
    assert all(labels_of(run, number) == labels_of(other, number) for number in (0, 1))


@pytest.mark.parametrize(("maker", "key"), [("student", "current_model_state"), ("ema", "state_dict")])
def test_labels_are_those_of_every_whole_image(
    tiny: Tiny, train: Callable[..., Spy], tmp_path: Path, maker: str, key: str
) -> None:
    run = tiny.run(f"made-{maker}")

    def keep(epoch: int) -> None:
        if epoch == 1:
            assert len(labels_of(run, 0)) == TRAIN  # complete before the first crop of the epoch
            shutil.copy(run.checkpoints / "last.ckpt", tmp_path)

    train(f"name={run.root.name}", f"label_maker={maker}", "dataset.max_epochs=2", at=keep)
    expected = relabelled(run, tmp_path / "last.ckpt", key=key)
    assert {
        image_id: (read_mask(run.labels(0) / f"{image_id}.png") == mask).all() for image_id, mask in expected.items()
    } == dict.fromkeys(tiny.layout.ids("train"), True)
    with Image.open(run.labels(0) / "train_00000.png") as picture:
        assert (picture.mode, picture.size) == ("P", (SIDE, SIDE))
    record = read_json(run.record)
    assert (record["label_maker"], record["refresh"]) == (maker, "round")


@pytest.mark.parametrize("workers", [0, 2])
def test_epochs_learn_the_labels_of_their_round(tiny: Tiny, train: Callable[..., Spy], workers: int) -> None:
    """A label is painted over after it was made; the WSS mask of the same image is another, and left alone."""
    run, image_id = tiny.run(f"read-{workers}"), "train_00005"

    def paint(epoch: int) -> None:
        if epoch in (1, 3):
            mark = np.full((SIDE, SIDE), MARK + epoch, np.uint8)
            write_mask(run.labels(epoch // 2) / f"{image_id}.png", mark, [[0, 0, 0]])

    spy = train(f"name={run.root.name}", f"dataset.workers={workers}", at=paint)
    assert spy.seen({1, 2}, image_id) == {MARK + 1} and spy.seen({3}, image_id) == {MARK + 3}
    given = set(np.unique(read_mask(tiny.wss / "train" / f"{image_id}.png")))
    assert spy.seen({0}, image_id) and spy.seen({0}, image_id) <= given
    assert spy.with_features == {False}  # nothing is read that no step needs


def test_a_first_round_comes_before_the_first_step(tiny: Tiny, train: Callable[..., Spy]) -> None:
    run = tiny.run("first")
    words = ("name=first", "dataset.rebalancing_start=0", "dataset.max_epochs=1", "dataset.workers=2")
    spy = train(*words, at=lambda epoch: shutil.copytree(run.labels(0), run.root / "kept"))
    made = {path.stem: read_mask(path) for path in (run.root / "kept").iterdir()}
    assert len(made) == TRAIN == len(spy.crops)
    assert all(spy.seen({0}, image_id) <= set(np.unique(mask)) for image_id, mask in made.items())


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stop_between_rounds(tiny: Tiny, train: Callable[..., Spy], whole: RunFolder, workers: int) -> None:
    words = (f"name=between-{workers}", f"dataset.workers={workers}")
    run = tiny.run(f"between-{workers}")

    def stop(epoch: int) -> None:
        if epoch == 2:
            raise StopError

    with pytest.raises(StopError):
        train(*words, at=stop)
    before = times_of(run, 0)
    spy = train(*words, "resume=true")
    assert {epoch for epoch, *_ in spy.crops} == {2, 3}
    assert times_of(run, 0) == before
    assert_same_weights(run, whole)


def test_a_stop_in_the_middle_of_a_round(
    tiny: Tiny, train: Callable[..., Spy], whole: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, left = tiny.run("middle"), [TRAIN + 5]

    def write(*given: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise StopError
        write_atomically(*given)

    with monkeypatch.context() as patch, pytest.raises(StopError):
        patch.setattr(dhr.disk.output, "write_atomically", write)
        train("name=middle")
    before = times_of(run, 1)
    assert len(before) == 5
    train("name=middle", "resume=true")
    after = times_of(run, 1)
    assert {image_id: after[image_id] for image_id in before} == before and len(after) == TRAIN
    assert_same_weights(run, whole)


def test_labels_of_weights_that_are_gone_are_not_used(tiny: Tiny, train: Callable[..., Spy], whole: RunFolder) -> None:
    """Without a checkpoint a run starts anew, with rounds on disk that its new weights have not made."""
    run = tiny.run("anew")

    def stop(epoch: int) -> None:
        if epoch == 3:
            raise StopError

    with pytest.raises(StopError):
        train("name=anew", at=stop)
    (run.checkpoints / "last.ckpt").unlink()
    for number in (0, 1):
        write_mask(run.labels(number) / "train_00002.png", np.full((SIDE, SIDE), MARK, np.uint8), [[0, 0, 0]])
    train("name=anew", "resume=true")
    assert_same_weights(run, whole)


def test_a_further_run_starts_from_the_labels(tiny: Tiny, whole: RunFolder) -> None:
    words = ("wss=dhr", f"wss.masks={whole.labels(1)}", "rebalancing=none", "dataset.max_epochs=1", "name=further")
    tiny.call("train", *words)
    assert read_json(tiny.run("further").record)["status"] == "finished"


def test_every_epoch_knows_its_folder(tmp_path: Path) -> None:
    given = MaskFolder(tmp_path / "given", 5)
    masks = RoundMasks(given, tmp_path, start_epoch=2, epochs=3)
    folders = [masks(epoch).folder for epoch in range(10)]
    rounds = [RunFolder(tmp_path).labels(number) for number in range(3)]
    assert folders == [given.folder] * 2 + [rounds[0]] * 3 + [rounds[1]] * 3 + [rounds[2]] * 2
    assert [epoch for epoch in range(10) if masks.begins(epoch)] == [2, 5, 8]
    with pytest.raises(Exception, match=r"round_0/a\.png: this label of the run is missing; the weights .* are gone"):
        masks(2).read("a", (4, 4))


@pytest.mark.slow
def test_two_processes_make_every_label_once(tiny: Tiny, tmp_path: Path) -> None:
    there = tiny.copy(tmp_path)
    words = ("refresh=round", "refresh.epochs=1", "label_maker=ema", "dataset.rebalancing_start=0", "name=two", *TWO)
    said = finish_two(there.command("train", "wss=cam", *words))
    assert said.count(f"{TRAIN // 2} made, 0 were there") == 2 * 2, said
    alone = words[:-2]
    there.call("train", "wss=cam", *alone[:-1], "name=one", "dataset.max_epochs=1")
    one, two = there.run("one"), there.run("two")
    assert labels_of(two, 0) == labels_of(one, 0)  # both of the start
    assert statistics_of(two)[0] == pytest.approx(statistics_of(one)[0], rel=1e-4)  # over the images of both processes
    assert len(labels_of(there.run("two"), 1)) == TRAIN
