"""Every kind of wrong input is named with its place and its cure, before anything is trained or written."""

import os
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from several import outcomes
from tiny import SIDE, TRAIN, Tiny

from dhr.config.compose import compose
from dhr.core.errors import InputError
from dhr.dataset.classes import load_classes
from dhr.disk.annotation import write_tags
from dhr.disk.atomic import read_json, write_json
from dhr.disk.layout import RunFolder
from dhr.disk.mask import write_mask

TABLE = load_classes("toy")
LEARNING = ("wss=cam", "rebalancing=dhr")
MASK, IMAGE, TAGS, FEATURES = "cam mask", "image", "tags", "features"
BILLION = '<!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;">]><annotation>&c;</annotation>'


@pytest.fixture
def there(tiny: Tiny, tmp_path: Path) -> Tiny:
    """A copy of the tiny set, to be broken."""
    return tiny.copy(tmp_path)


@pytest.fixture
def sentinel(tmp_path: Path) -> Path:
    """The file that a bomb makes when it goes off."""
    return tmp_path / "went_off"


class Bomb:
    """Runs a command when it is unpickled."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.sentinel}",)


def place(there: Tiny, what: str) -> Path:
    """One file of each kind, of the training image with number 5."""
    places = {
        MASK: there.wss / "train" / "train_00005.png",
        IMAGE: there.layout.image("train", "train_00005"),
        TAGS: there.layout.tags("train", "train_00005"),
        FEATURES: there.features / "train_00005.pt",
        "truth": there.layout.mask("validation", "validation_00002"),
        "validation image": there.layout.image("validation", "validation_00002"),
    }
    return places[what]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def write(text: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(text)


def fill(label: int, size: tuple[int, int] = (SIDE, SIDE)) -> Callable[[Path], None]:
    return lambda path: write_mask(path, np.full(size, label, np.uint8), TABLE.palette)


def paint(path: Path) -> None:
    Image.new("RGB", (SIDE, SIDE)).save(path)


def store(value: object) -> Callable[[Path], None]:
    return lambda path: torch.save(value, path)


BROKEN: list[tuple[str, Callable[[Path], object], str]] = [
    (MASK, Path.unlink, "this WSS mask is missing; run python -m dhr.train_wss dataset=toy wss=cam"),
    (MASK, fill(1, (10, 12)), r"size \(10, 12\): the image has \(48, 48\).*; run python -m dhr.train_wss"),
    (MASK, fill(10), "label 10: allowed are 0 to 9 and 255; were these masks made for another data set?"),
    (MASK, paint, "mode RGB: a mask is an 8-bit palette or grey PNG"),
    (MASK, cut, "unreadable mask .*; fetch or make this file again"),
    (IMAGE, write("<html>not found</html>"), "unreadable image .*; fetch or make this file again"),
    (IMAGE, cut, "unreadable image .*truncated"),
    (IMAGE, write(""), "unreadable image"),
    (TAGS, Path.unlink, "these tags are missing; run python -m dhr.prepare"),
    (TAGS, write("<annotation><object>"), "unreadable XML .*; fetch or make this file again"),
    (TAGS, write(BILLION), "unreadable XML"),
    (
        TAGS,
        write("<annotation><object><name>unicorn</name></object></annotation>"),
        "'unicorn' is not a class; allowed",
    ),
    (FEATURES, Path.unlink, "these USS features are missing; run python -m dhr.extract_uss dataset=toy uss=colour"),
    (FEATURES, cut, "unreadable .*; delete it and run python -m dhr.extract_uss"),
    (FEATURES, write(""), "unreadable"),
    (FEATURES, store(torch.zeros(4, 4)), r"not a feature tensor \(D,h,w\); delete it"),
    (FEATURES, store({"features": torch.zeros(4, 4, 4)}), "not a feature tensor"),
    ("truth", Path.unlink, "this human mask is missing, 1 of 4 are; restore"),
    ("truth", fill(1, (10, 12)), r"size \(10, 12\): the image has \(48, 48\)"),
    ("truth", fill(10), "label 10: allowed are 0 to 9 and 255"),
    ("validation image", cut, "unreadable image"),
]


@pytest.mark.parametrize(("what", "damage", "said"), BROKEN)
def test_a_broken_file_stops_training_before_it_starts(
    there: Tiny, what: str, damage: Callable[[Path], object], said: str
) -> None:
    path = place(there, what)
    damage(path)
    with pytest.raises(InputError, match=f"{re.escape(str(path))}: .*{said}"):
        there.call("train", *LEARNING)
    assert not (there.root / "outputs").exists()


def test_all_bad_files_are_counted_and_some_are_named(there: Tiny) -> None:
    for number in range(7):
        (there.wss / "train" / f"train_{number:05d}.png").unlink()
    with pytest.raises(InputError) as caught:
        there.call("train", *LEARNING)
    assert str(caught.value).count("this WSS mask is missing") == 5
    assert "... and 2 more bad files" in str(caught.value)


def test_without_any_tag_there_is_nothing_to_learn(there: Tiny) -> None:
    for image_id in there.layout.ids("train"):
        write_tags(there.layout.tags("train", image_id), (SIDE, SIDE), [])
    with pytest.raises(InputError, match="xml: no image has a tag"):
        there.call("train", *LEARNING)
    assert not (there.root / "outputs").exists()


@pytest.mark.parametrize(("words", "said"), [
    (["dataset.batch_size=17"], f"dataset.batch_size: 17: there are only {TRAIN} images .*; use dataset.batch_size=16"),
    (["dataset.splits.validation=val"], "split=val: no folder .*; make it with python -m dhr.prepare"),
    (["wss=mars"], "MARS.*: this WSS mask is missing; run python -m dhr.train_wss dataset=toy wss=mars, or put"),
    (["wss=dhr"], "DHR.*: this WSS mask is missing; put the masks of this method there, or set wss.masks="),
    (["uss=cause", "uss/tokens=colour"], r"CAUSE_Toy\.pt: these weights are missing; .* python -m dhr\.train_uss"),
    (["trainer.devices=abc"], "trainer: .*devices"),
    (["trainer.devices=2", "trainer.strategy=ddp", "dataset.batch_size=9"], "use dataset.batch_size=10, or another"),
    (["backbone.weights=nowhere.pth"], "backbone.weights=nowhere.pth: no such file; allowed are null, a file"),
])  # fmt: skip
def test_words_that_do_not_fit_the_data(tiny: Tiny, tmp_path: Path, words: list[str], said: str) -> None:
    outputs = tmp_path / "outputs"
    with pytest.raises(InputError, match=said):
        tiny.call("train", *LEARNING, *words, f"paths.outputs={outputs}")
    assert not outputs.exists()


def test_masks_from_tags_are_not_begun_with_too_few_images(tiny: Tiny, tmp_path: Path) -> None:
    masks = f"wss.masks='{tmp_path}/masks/{{split}}'"
    with pytest.raises(InputError, match="dataset.batch_size: 17: there are only 16"):
        tiny.call("train_wss", masks, "dataset.batch_size=17")
    assert list(tmp_path.iterdir()) == []


def test_a_torn_classifier_is_named(there: Tiny) -> None:
    cut(there.wss / "classifier.safetensors")
    with pytest.raises(InputError, match="classifier.safetensors: not the classifier that .*; overwrite=true"):
        there.call("train_wss")


# Scores


@pytest.fixture
def predictions(there: Tiny) -> Path:
    """The truth, taken as predictions."""
    folder = there.root / "predictions"
    (there.layout.split("validation") / "mask").rename(folder)
    for path in folder.iterdir():
        there.layout.mask("validation", path.stem).parent.mkdir(exist_ok=True)
        there.layout.mask("validation", path.stem).write_bytes(path.read_bytes())
    return folder


def scores_of(there: Tiny, folder: Path, *words: str) -> dict[str, object]:
    there.call("evaluate", f"masks={folder}", "dataset=toy", *words)
    written: dict[str, object] = read_json(folder.parent / "predictions.validation.scores.json")
    return written


@pytest.mark.parametrize(("damage", "said"), [
    (Path.unlink, r"1 masks are missing \(validation_00001\); predict them with .*allow_missing=true"),
    (fill(255), f"validation_00001: the prediction has label 255 on {SIDE * SIDE} scored pixels; allowed are 0 to 9"),
    (fill(10), "validation_00001: the prediction has label 10"),
    (fill(1, (10, 12)), r"validation_00001.png: size \(10, 12\): the truth has \(48, 48\)"),
    (cut, "validation_00001.png: unreadable mask"),
])  # fmt: skip
def test_wrong_predictions_are_not_scored(
    there: Tiny, predictions: Path, damage: Callable[[Path], object], said: str
) -> None:
    damage(predictions / "validation_00001.png")
    with pytest.raises(InputError, match=said):
        scores_of(there, predictions)
    assert not (there.root / "predictions.validation.scores.json").exists()


def test_missing_and_extra_masks_are_counted(there: Tiny, predictions: Path) -> None:
    (predictions / "validation_00001.png").rename(predictions / "other.png")
    scores = scores_of(there, predictions, "allow_missing=true")
    assert (scores["images"], scores["missing"], scores["extra"]) == (3, 1, 1)
    assert scores["miou"] == pytest.approx(100)
    with pytest.raises(InputError, match=r"1 masks of no image \(other\)"):
        scores_of(there, predictions, "allow_missing=true", "strict=true")


def test_truth_of_nonsense_is_named(there: Tiny, predictions: Path) -> None:
    fill(12)(there.layout.mask("validation", "validation_00003"))
    with pytest.raises(InputError, match="validation_00003: the truth has label 12"):
        scores_of(there, predictions)


# Files that came from elsewhere


def run_from_elsewhere(there: Tiny, *, status: str) -> RunFolder:
    """A run folder with the right configuration and a checkpoint that somebody else wrote."""
    run = there.run("theirs")
    cfg = compose("train", there.words("train", *LEARNING, "name=theirs"))
    run.checkpoints.mkdir(parents=True)
    run.config.write_text(OmegaConf.to_yaml(cfg, resolve=True))
    write_json(run.record, {"status": status})
    return run


def write_bomb(path: Path, sentinel: Path, form: str) -> None:
    """A bomb that is proven to go off where a file is simply unpickled."""
    if form == "archive":
        torch.save(Bomb(sentinel), path)
        with zipfile.ZipFile(path) as archive:
            content = next(archive.read(name) for name in archive.namelist() if name.endswith("data.pkl"))
    else:
        content = pickle.dumps(Bomb(sentinel))
        path.write_bytes(content)
    pickle.loads(content)
    sentinel.unlink()


@pytest.mark.parametrize("form", ["archive", "pickle"])
@pytest.mark.parametrize("use", ["features", "checkpoint", "resume", "weights", "backbone"])
def test_nothing_that_is_loaded_runs_code(there: Tiny, sentinel: Path, use: str, form: str) -> None:
    run = run_from_elsewhere(there, status="running" if use == "resume" else "finished")
    last = run.checkpoints / "last.ckpt"
    path, verb, words = {
        "features": (place(there, FEATURES), "train", LEARNING),
        "checkpoint": (last, "predict", (f"run={run.root}",)),
        "resume": (last, "train", (*LEARNING, "name=theirs", "resume=true")),
        "weights": (there.root / "theirs.pth", "predict", (f"weights={there.root}/theirs.pth",)),
        "backbone": (there.root / "theirs.pth", "train", (*LEARNING, f"backbone.weights={there.root}/theirs.pth")),
    }[use]
    write_bomb(path, sentinel, form)
    with pytest.raises(InputError, match=re.escape(path.name)):
        there.call(verb, *words)
    assert not sentinel.exists()


@pytest.mark.parametrize("verb", ["predict", "evaluate", "report"])
def test_a_hostile_configuration_of_a_run_is_refused(there: Tiny, sentinel: Path, verb: str) -> None:
    run = run_from_elsewhere(there, status="finished")
    hostile = run.config.read_text().replace("dhr.crf.pydensecrf.PyDenseCrf", "os.system", 1)
    run.config.write_text(hostile.replace("iterations: 10", f"command: touch {sentinel}"))
    with pytest.raises(InputError, match=r"config\.yaml: crf\._target_: os\.system: not a part of this group"):
        there.call(verb, f"run={run.root}")
    assert not sentinel.exists()


# As commands


@pytest.mark.parametrize(("verb", "words", "said"), [
    ("train", LEARNING, "train_00005.png: this WSS mask is missing"),
    ("evaluate", ("masks=nowhere", "dataset=toy"), "masks: nowhere: no such folder"),
    ("predict", ("run=nowhere",), "run: nowhere: not the folder of a run"),
])  # fmt: skip
def test_commands_exit_with_2_and_leave_nothing(
    there: Tiny, monkeypatch: pytest.MonkeyPatch, verb: str, words: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(there.root)
    place(there, MASK).unlink()
    before = there.times()
    codes, told = outcomes(there.command(verb, *words))
    assert (codes, said in told, "Traceback" in told) == ([2], True, False), told
    assert there.times() == before
