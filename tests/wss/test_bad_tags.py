"""Tags that are not as they should be: train_wss works as documented, or says the place, the value and the cure."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import SIDE, TRAIN, Tiny

from dhr.core.errors import InputError
from dhr.dataset.classes import load_classes
from dhr.disk.annotation import read_tags, write_tags
from dhr.disk.mask import read_mask
from dhr.runtime.signals import Stopped
from dhr.wss import cam
from dhr.wss.cam import mask_of


@pytest.fixture
def there(tiny: Tiny, tmp_path: Path) -> Tiny:
    """Images and tags, without anything of a WSS method."""
    copied = tiny.copy(tmp_path)
    shutil.rmtree(copied.root / "data" / "WSS")
    return copied


def tagged(there: Tiny, number: int, *names: str) -> Path:
    """Gives an image other tags."""
    path = there.layout.tags("train", f"train_{number:05d}")
    write_tags(path, (SIDE, SIDE), names)
    return path


def masks(there: Tiny) -> dict[str, np.ndarray]:
    return {path.stem: read_mask(path) for path in sorted((there.wss / "train").glob("*.png"))}


def test_images_without_tags_are_left_out_and_become_background(there: Tiny, caplog: pytest.LogCaptureFixture) -> None:
    for number in (0, 3):
        tagged(there, number)
    with caplog.at_level(logging.INFO, "dhr"):
        there.call("train_wss")
    assert f"train: 2 of {TRAIN} images have no tag and are left out" in caplog.text
    assert f"classifier: {(TRAIN - 2) // 4} steps" in caplog.text
    made = masks(there)
    assert len(made) == TRAIN
    assert all(not made[f"train_{number:05d}"].any() for number in (0, 3))


def test_no_image_has_a_tag(there: Tiny) -> None:
    for number in range(TRAIN):
        tagged(there, number)
    with pytest.raises(InputError, match="train/xml: no image has a tag; nothing can be learnt"):
        there.call("train_wss")
    assert not there.wss.exists()


WRONG: dict[str, tuple[Callable[[Tiny], object], str]] = {
    "unknown": (
        lambda there: tagged(there, 3, "zebra"),
        r"train_00003.xml: object name 'zebra' is not a class; allowed",
    ),
    "missing": (lambda there: tagged(there, 3).unlink(), r"train_00003.xml: these tags are missing; run .*prepare"),
    "background": (lambda there: tagged(there, 3, "background"), "object name 'background' is not a class; allowed"),
    "empty": (lambda there: tagged(there, 3).write_bytes(b""), r"train_00003.xml: unreadable tags \(0 bytes"),
    "torn": (lambda there: tagged(there, 3).write_bytes(b"<annotation><object>"), "train_00003.xml: unreadable XML"),
    "two": (lambda there: [tagged(there, n, "zebra") for n in (3, 5)], "(?s)train_00003.xml: .*train_00005.xml: "),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_tags_are_told_before_anything_is_learnt(there: Tiny, case: str) -> None:
    damage, said = WRONG[case]
    damage(there)
    with pytest.raises(InputError, match=said):
        there.call("train_wss")
    assert not there.wss.exists()


def test_wrong_tags_of_another_split_are_told_before_anything_is_learnt(there: Tiny) -> None:
    """Those of the images whose masks are made, where these are not the ones to learn from, and no trial sees them."""
    write_tags(there.layout.tags("validation", "validation_00002"), (SIDE, SIDE), ["zebra"])
    with pytest.raises(InputError, match="validation_00002.xml: object name 'zebra' is not a class; allowed"):
        there.call("train_wss", "split=validation")
    assert not there.wss.exists()


def test_a_class_that_never_occurs_is_in_no_mask(there: Tiny) -> None:
    absent, *_ = sorted({name for number in range(TRAIN) for name in names_of(there, number)})
    for number in range(TRAIN):
        tagged(there, number, *[name for name in names_of(there, number) if name != absent])
    there.call("train_wss")
    label = table(there).index(absent)
    assert not any((mask == label).any() for mask in masks(there).values())


def table(there: Tiny) -> tuple[str, ...]:
    return tuple(load_classes("toy").names)


def names_of(there: Tiny, number: int) -> list[str]:
    return read_tags(there.layout.tags("train", f"train_{number:05d}"), table(there)[1:])


def test_masks_have_only_tagged_classes(tiny: Tiny) -> None:
    made = masks(tiny)
    for number in range(TRAIN):
        allowed = {0, *(table(tiny).index(name) for name in names_of(tiny, number))}
        assert set(np.unique(made[f"train_{number:05d}"])) <= allowed


class Nothing:
    """A CRF that changes nothing."""

    workers = 0

    def on(self, pixels: torch.Tensor, valid: torch.Tensor) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
        return lambda probabilities, present: probabilities


@pytest.mark.parametrize(("first_tag", "label"), [(1, 0), (0, 1)])
def test_maps_that_mark_nothing(first_tag: int, label: int) -> None:
    """Background everywhere; where there is none, the first of the tags."""
    maps, tags = torch.zeros(4, 5, 6), torch.tensor([0.0, 1.0, 0.0, 1.0])
    mask = mask_of(maps, tags, torch.zeros(3, 5, 6).byte(), crf=Nothing(), gamma=2.0, first_tag=first_tag)
    assert mask.shape == (5, 6) and mask.unique().tolist() == [label]


def test_a_classifier_that_marks_nothing(there: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is divided by a maximum of zero: the masks are background, and whole."""
    there.call("train_wss")
    shutil.rmtree(there.wss / "train")
    monkeypatch.setattr(cam.TagClassifier, "forward", minus_one)
    there.call("train_wss")
    assert len(masks(there)) == TRAIN and not any(mask.any() for mask in masks(there).values())


def minus_one(model: cam.TagClassifier, image: torch.Tensor) -> torch.Tensor:
    return -torch.ones(len(image), model.classifier.projection.weight.shape[0], 6, 6)


def test_a_killed_mask_stage_goes_on(there: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    there.call("train_wss")
    whole = masks(there)
    shutil.rmtree(there.wss / "train")
    for ending in (".json", ".files.jsonl"):
        (there.wss / f"train{ending}").unlink()
    weights = (there.wss / "classifier.safetensors").stat().st_mtime_ns
    seen, made = [], cam.activation_maps

    def killed(*arguments: torch.Tensor) -> torch.Tensor:
        seen.append(1)
        if len(seen) == 1 + 7:  # behind the trial, amid the masks
            raise Stopped(15)
        return made(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(cam, "activation_maps", killed)
        with pytest.raises(Stopped):
            there.call("train_wss")
    assert 0 < len(masks(there)) < TRAIN
    there.call("train_wss")
    assert masks(there).keys() == whole.keys() and all(np.array_equal(masks(there)[key], whole[key]) for key in whole)
    assert (there.wss / "classifier.safetensors").stat().st_mtime_ns == weights
