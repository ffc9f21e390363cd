"""The steps of a WSS method: what is said of them before, what is refused, and that nothing of a trial is left."""

import logging
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_text_of import saved_model
from seeded import Seeded, workshop
from tiny import SIDE, TRAIN, Tiny

from dhr.core.errors import InputError
from dhr.disk.annotation import write_tags
from dhr.disk.mask import read_mask
from dhr.disk.writing import part_of
from dhr.runtime.signals import Stopped
from dhr.wss.recipe import carry_out, say_what_is_due, seconds_of
from dhr.wss.steps import Training
from dhr.wss.trained_file import TrainedFile

PER_EPOCH = TRAIN // 4


@dataclass
class Pretended:
    """A step that says how long it takes."""

    name: str
    unit: str
    due: int
    times: list[float] = field(default_factory=list)

    def amount(self) -> int:
        return self.due

    def trial(self) -> float:
        random.random(), np.random.rand(), torch.rand(1)
        return self.times.pop(0)

    def run(self) -> None:
        raise AssertionError("was only asked how long it takes")


@pytest.fixture
def there(tiny: Tiny, tmp_path: Path) -> Tiny:
    """Images and tags, without anything of a WSS method."""
    copied = tiny.copy(tmp_path)
    shutil.rmtree(copied.root / "data" / "WSS")
    return copied


def files(root: Path) -> dict[str, bytes]:
    """Every file with its content, but that which tells times."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.name.endswith((".files.jsonl", ".time.json"))
    }


def seeded(there: Tiny, *words: str, colour: int = 0) -> tuple[Seeded, Any]:
    cam, shop = workshop(there.words("train_wss", *words))
    return Seeded(cam, colour), shop


def test_the_time_said_is_the_sum_of_its_parts(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each the least of three trials."""
    monkeypatch.setattr("dhr.wss.recipe.TRIALS", 3)
    steps = [
        Pretended("seeds", "images", 20, [9.0, 2.0, 3.0]),
        Pretended("classifier", "steps", 0),
        Pretended("masks", "images", 100, [0.25, 0.5, 0.75]),
    ]
    with caplog.at_level(logging.INFO, "dhr"):
        say_what_is_due(steps)
    assert caplog.messages == ["about 1 min 5 s (seeds: 20 images of 2 s, masks: 100 images of 0.25 s)"]
    caplog.clear()
    say_what_is_due([steps[1]])
    assert not caplog.messages


def test_a_trial_changes_no_random_numbers() -> None:
    def drawn() -> list[float]:
        return [random.random(), float(np.random.rand()), float(torch.rand(1))]

    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    expected = drawn()
    random.setstate(states[0]), np.random.set_state(states[1]), torch.set_rng_state(states[2])
    seconds_of(Pretended("masks", "images", 1, [1.0]))
    assert drawn() == expected


def test_trials_leave_nothing_behind(there: Tiny) -> None:
    """No file, no other weight, no layer in another mode: a network in eval mode would learn something else."""
    recipe, shop = seeded(there)
    steps = recipe.steps(shop)
    training = next(step for step in steps if isinstance(step, Training))
    weights = {key: value.clone() for key, value in training.module.state_dict().items()}
    modes = [layer.training for layer in training.module.modules()]
    before = files(there.root)
    say_what_is_due(steps)
    assert files(there.root) == before
    torch.testing.assert_close(dict(training.module.state_dict()), weights, rtol=0, atol=0)
    assert [layer.training for layer in training.module.modules()] == modes and all(modes)


def test_what_is_learnt_does_not_depend_on_trials(there: Tiny) -> None:
    carry_out(*workshop(there.words("train_wss")))
    tried = files(there.wss)
    shutil.rmtree(there.wss)
    recipe, shop = workshop(there.words("train_wss"))
    for step in recipe.steps(shop):
        step.run()
    assert files(there.wss) == tried and len(tried) > TRAIN


def test_amounts_and_what_is_there(there: Tiny) -> None:
    recipe, shop = seeded(there, "cam.epochs=2")
    assert [step.amount() for step in recipe.steps(shop)] == [TRAIN, 2 * PER_EPOCH, TRAIN]
    carry_out(recipe, shop)
    masks = there.wss / "train"
    assert [step.amount() for step in recipe.steps(shop)] == [0, 0, 0]
    (masks / "train_00003.png").unlink()
    assert [step.amount() for step in recipe.steps(shop)] == [0, 0, 1]
    anew = replace(shop, overwrite=True)
    assert [step.amount() for step in recipe.steps(anew)] == [TRAIN, 2 * PER_EPOCH, TRAIN]


def test_of_a_training_that_goes_on_the_rest_is_due(there: Tiny, at_step: Callable[[int], None]) -> None:
    at_step(3)
    with pytest.raises(Stopped):
        carry_out(*seeded(there, "cam.epochs=2"))
    recipe, shop = seeded(there, "cam.epochs=2")
    assert [step.amount() for step in recipe.steps(shop)] == [0, 2 * PER_EPOCH - 3, TRAIN]


def test_overwrite_makes_everything_anew(there: Tiny) -> None:
    carry_out(*seeded(there))
    before = {path: path.stat().st_mtime_ns for path in there.wss.rglob("*") if path.is_file()}
    carry_out(*seeded(there))
    assert {path: path.stat().st_mtime_ns for path in there.wss.rglob("*") if path.is_file()} == before
    carry_out(*seeded(there, "overwrite=true"))
    after = {path: path.stat().st_mtime_ns for path in there.wss.rglob("*") if path.is_file()}
    assert after.keys() == before.keys() and not set(after.values()) & set(before.values())


def forget(there: Tiny) -> None:
    (there.wss / "classifier.safetensors").unlink()


def test_too_few_images_for_a_batch_are_told_before_anything_is_made(there: Tiny) -> None:
    """Also by methods that make masks of all images before they learn."""
    for image_id in there.layout.ids("train")[3:]:
        write_tags(there.layout.tags("train", image_id), (SIDE, SIDE), [])
    before = files(there.root)
    with pytest.raises(InputError, match="batch_size: 4: there are only 3 images to learn from; use .*batch_size=3"):
        carry_out(*seeded(there))
    assert files(there.root) == before


OTHERS: dict[str, tuple[Callable[[Tiny], None], tuple[str, ...], int, str]] = {
    "between": (forget, (), 7, r"\.seeds/train: its masks .*other settings \(colour"),
    "CRF": (forget, ("crf.iterations=2",), 0, r"\.seeds/train: its masks .*other settings \(crf"),
    "recipe": (forget, ("cam.epochs=3",), 0, r"\.seeds/train: its masks .*other settings \(recipe"),
    "training": (
        lambda there: shutil.rmtree(there.wss / ".seeds"),
        ("cam.epochs=3",),
        0,
        "classifier.safetensors: .*other settings",
    ),
    "untrained": (forget, (), 0, "CAM/train: .*other settings"),
    "unknown": (lambda there: (there.wss / "train.json").unlink(), (), 0, "CAM/train: .*do not say how they were made"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_other_settings_are_refused_before_anything_is_made(there: Tiny, case: str) -> None:
    damage, words, colour, said = OTHERS[case]
    carry_out(*seeded(there))
    damage(there)
    (there.wss / ".seeds" / "train" / "train_00001.png").unlink(missing_ok=True)  # would be made again first
    before = files(there.root)
    with pytest.raises(InputError, match=f"{said}.*overwrite=true"):
        carry_out(*seeded(there, *words, colour=colour))
    assert files(there.root) == before


def test_masks_of_a_method_without_a_network_are_refused_first(there: Tiny) -> None:
    """With nothing to train, too, the last step is looked at before the first one makes anything."""

    class Untrained(Seeded):
        def steps(self, workshop: Any) -> Any:
            seeds, _, masks = super().steps(workshop)
            masks.network, masks.settings = None, seeds.settings
            return seeds, masks

    recipe, shop = seeded(there)
    carry_out(Untrained(recipe.cam), shop)
    shutil.rmtree(there.wss / ".seeds")
    before = files(there.root)
    with pytest.raises(InputError, match="CAM/train: its masks .*other settings"):
        carry_out(Untrained(recipe.cam, colour=1), seeded(there)[1])
    assert files(there.root) == before


@pytest.mark.parametrize("place", [(TrainedFile, "conclude"), (shutil, "rmtree")], ids=["unrecorded", "recorded"])
@pytest.mark.parametrize("files_of_end", ["first", "again"])
def test_a_training_killed_in_its_very_end_goes_on(
    there: Tiny, monkeypatch: pytest.MonkeyPatch, files_of_end: str, place: tuple[Any, str]
) -> None:
    """Its weights are there and nothing says yet how they were trained, or that of other weights is still there.

    Or all is there, and its checkpoints are not removed yet. What it was writing is left, too.
    """
    words = ("overwrite=true",) if files_of_end == "again" else ()
    if words:
        there.call("train_wss", "seed=2")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(*place, killed)
        with pytest.raises(KeyboardInterrupt):
            there.call("train_wss", *words)
    assert [*there.wss.glob(".training-*")]
    for name in ("classifier.safetensors", "recipe.json", "train.json") if place[1] == "conclude" else ():
        part_of_the_dead(there.wss / name)
    there.call("train_wss", *words)
    continued = files(there.wss)
    shutil.rmtree(there.wss)
    there.call("train_wss")
    assert files(there.wss) == continued


def part_of_the_dead(path: Path) -> None:
    """A process that has the number of a living one is dead if it began earlier."""
    place, pid, start, token = part_of(path).removesuffix(".part").rpartition(".")[2].split("-")
    path.with_name(f".{path.name}.{place}-{pid}-{int(start) - 1}-{token}.part").touch()


def test_masks_before_a_training_are_those_of_the_images_to_learn_from(there: Tiny) -> None:
    recipe, shop = seeded(there, "split=validation")
    carry_out(recipe, shop)
    folder = there.wss / ".seeds" / "train"
    assert sorted(path.stem for path in folder.glob("*.png")) == there.layout.ids("train")
    assert sorted(path.stem for path in (there.wss / "validation").glob("*.png")) == there.layout.ids("validation")
    for image_id in there.layout.ids("train")[:3]:
        assert np.unique(read_mask(folder / f"{image_id}.png")) == shop.learnt.tags(image_id).argmax() + 1


def test_a_clipped_gradient_is_another_setting(there: Tiny) -> None:
    there.call("train_wss")
    with pytest.raises(InputError, match=r"other settings \(trainer in .*overwrite=true"):
        there.call("train_wss", "trainer.gradient_clip_val=0.1")


@pytest.mark.parametrize("method", ["cam", "scg", "text"])
def test_masks_in_half_precision_are_nearly_the_same_and_say_so(there: Tiny, method: str) -> None:
    """The networks compute in it, nothing behind them does; masks of both kinds are not mixed."""
    words = [f"wss={method}"]
    if method == "scg":
        there.call("train_wss", "wss=cam")
    if method == "text":
        words.append(f"wss.recipe.name={saved_model(there.root / 'clip', 'clip')}")
    there.call("train_wss", *words)
    folder = {"cam": "CAM", "scg": "SCG", "text": "Text"}[method]
    paths = sorted((there.wss.parent / folder / "train").glob("*.png"))
    exact = [read_mask(path) for path in paths]
    with pytest.raises(InputError, match="precision_of_masks"):
        there.call("train_wss", *words, "precision=bf16")
    there.call("train_wss", *words, "precision=bf16", "overwrite=true")
    half = [read_mask(path) for path in paths]
    same = np.concatenate([(one == other).ravel() for one, other in zip(exact, half, strict=True)])
    assert 0.97 < same.mean() < 1
