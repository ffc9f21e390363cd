"""MARS from the masks of a source to its own: whole, again, killed, and refused."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import NETWORK, SIDE, TRAIN, Tiny
from torch import Tensor

import dhr.wss.mars
from dhr.core.errors import InputError
from dhr.core.labels import IGNORE
from dhr.core.sample import Batch, NetworkOutput
from dhr.dataset.classes import load_classes
from dhr.dataset.split import Split
from dhr.disk.annotation import write_tags
from dhr.disk.mask import encode_mask, read_mask
from dhr.disk.weights.state import read_weights
from dhr.runtime.signals import Stopped
from dhr.training.average import EmaAverage
from dhr.wss.complement import ComplementedModule, Teacher

WORDS = ("wss=mars", *NETWORK)
TABLE = load_classes("toy")


def mars(there: Tiny) -> Path:
    return there.wss.parent / "MARS"


def content(folder: Path) -> dict[str, bytes]:
    kinds = (".png", ".safetensors", ".json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.suffix in kinds}


@pytest.fixture(scope="module")
def source(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Masks with much in them: those of the tiny classifier have hardly any foreground. Two images have no tag."""
    there = tiny.copy(tmp_path_factory.mktemp("source"))
    shutil.copytree(there.wss.parent / "Simulated", there.wss.parent / "Mine")
    for image_id in there.layout.ids("train")[:2]:
        write_tags(there.layout.tags("train", image_id), (SIDE, SIDE), [])
        empty = encode_mask(np.zeros((SIDE, SIDE), np.uint8), TABLE.palette)
        (there.wss.parent / "Mine" / "train" / f"{image_id}.png").write_bytes(empty)
    return there


def make(there: Tiny, *words: str) -> None:
    masks = there.wss.parent / "Mine" / "{split}"
    there.call("train_wss", *WORDS, "wss.source=simulated", f"wss.source.masks='{masks}'", *words)


@pytest.fixture(scope="module")
def whole(source: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    there = source.copy(tmp_path_factory.mktemp("whole"))
    make(there)
    return there


def test_the_whole_method(whole: Tiny) -> None:
    ids = whole.layout.ids("train")
    masks, debiased, given = (
        {image_id: read_mask(folder / f"{image_id}.png") for image_id in ids}
        for folder in (mars(whole) / "train", mars(whole) / ".debiased" / "train", whole.wss.parent / "Mine" / "train")
    )
    for image_id in ids:
        tags = {0, *(tags_of(whole, image_id) + 1).tolist()}
        assert set(np.unique(masks[image_id])) <= tags
        kept = debiased[image_id] == given[image_id]
        assert ((debiased[image_id] == IGNORE) & (given[image_id] != 0))[~kept].all()
    unknown = sum(int((mask == IGNORE).sum()) for mask in debiased.values())
    assert 0 < unknown < sum(int((mask != 0).sum()) for mask in given.values()) / 2
    assert len({mask.tobytes() for mask in masks.values()}) > 1 and not masks[ids[0]].any()
    centroids = read_weights(mars(whole) / "centroids.safetensors")["centroids"]
    assert centroids.shape == (TABLE.num_classes, 64) and not centroids[0].any()


def test_confirmed_against_the_background_other_pixels_are_unknown(source: Tiny, whole: Tiny, tmp_path: Path) -> None:
    there = source.copy(tmp_path)
    make(there, "wss.recipe.against=background")
    differing = 0
    for image_id in there.layout.ids("train"):
        given = read_mask(there.wss.parent / "Mine" / "train" / f"{image_id}.png")
        half, background = (
            read_mask(mars(made) / ".debiased" / "train" / f"{image_id}.png") for made in (whole, there)
        )
        assert ((background == given) | ((background == IGNORE) & (given != 0))).all()
        differing += int((half != background).sum())
    assert differing > 0
    name = "centroids.safetensors"
    assert (mars(there) / name).read_bytes() == (mars(whole) / name).read_bytes()


def tags_of(there: Tiny, image_id: str) -> np.ndarray:
    return np.flatnonzero(Split.open(there.layout, "train", TABLE).tags(image_id).numpy())


def test_a_second_call_has_nothing_to_do(whole: Tiny, caplog: pytest.LogCaptureFixture) -> None:
    before = content(mars(whole))
    caplog.set_level("INFO")
    make(whole)
    assert content(mars(whole)) == before
    assert caplog.text.count("0 made, 16 were there") == 1 and "about" not in caplog.text


def test_masks_of_another_split(whole: Tiny, tmp_path: Path) -> None:
    there = whole.copy(tmp_path)
    make(there, "split=validation")
    assert len([*(mars(there) / "validation").glob("*.png")]) == len(there.layout.ids("validation"))


class KilledError(Exception):
    pass


def after(number: int, work: Callable[..., Any], end: Callable[[], None]) -> Callable[..., Any]:
    """The same work, which ends everything at its `number`-th call."""
    calls = iter(range(1, 10_000))

    def done(*arguments: Any, **more: Any) -> Any:
        if next(calls) == number:
            end()
        return work(*arguments, **more)

    return done


def killed() -> None:
    raise KilledError


def terminated() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.slow
def test_killed_and_called_again_it_ends_alike(
    source: Tiny, whole: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = source.copy(tmp_path)
    places: list[tuple[Any, str, int, Callable[[], None], type[BaseException]]] = [
        (dhr.wss.mars, "centroids_of", 9, killed, KilledError),  # the first call is a trial
        (dhr.wss.mars, "without_bias", 9, killed, KilledError),
        (ComplementedModule, "training_step", 1 + 2, terminated, Stopped),
        (ComplementedModule, "training_step", 1 + 4, terminated, Stopped),
        (dhr.wss.mars, "tagged_masks", 1 + 1, killed, KilledError),
    ]
    for place, name, number, end, raised in places:
        with monkeypatch.context() as patched:
            patched.setattr(place, name, after(number, getattr(place, name), end))
            with pytest.raises(raised):
                make(there)
        assert not [*(mars(there) / "train").glob("*.png")]
    make(there)
    assert content(mars(there)) == content(mars(whole))


def test_the_masks_are_those_of_the_average(whole: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The teacher is asked from its epoch on, in every step, and what is stored are its weights."""
    there, asked = whole.copy(tmp_path), list[int]()
    complement, end = Teacher.complement, EmaAverage.on_train_end
    teachers: list[dict[str, Tensor]] = []

    def counted(self: Teacher, batch: Batch, output: NetworkOutput, network: Any) -> Any:
        asked.append(id(network))
        return complement(self, batch, output, network)

    def ended(self: EmaAverage, trainer: Any, module: Any) -> None:
        assert module.training  # although trials of the masks looked at images in eval mode
        teachers.append({name: value.clone() for name, value in self.network.state_dict().items()})
        end(self, trainer, module)

    monkeypatch.setattr(Teacher, "complement", counted)
    monkeypatch.setattr(EmaAverage, "on_train_end", ended)
    make(there, "overwrite=true")
    assert len(asked) == 1 + (TRAIN - 2) // 4  # a trial, and the second of two epochs of the images that have tags
    stored = read_weights(mars(there) / "network.safetensors")
    assert all(torch.equal(stored[f"network.{name}"], value) for name, value in teachers[0].items())
    assert content(mars(there)) == content(mars(whole))


def remove_features(there: Tiny) -> None:
    shutil.rmtree(there.features)


def remove_source(there: Tiny) -> None:
    shutil.rmtree(there.wss / "train")


def bring_masks(there: Tiny) -> None:
    shutil.copytree(there.wss / "train", mars(there) / "train")


def put_folder(there: Tiny) -> None:
    mask = there.wss.parent / "Simulated" / "train" / "train_00005.png"
    mask.unlink()
    mask.mkdir()


def nothing(there: Tiny) -> None:
    pass


@pytest.mark.parametrize(("words", "prepare", "said"), [
    ([], remove_features, "these USS features are missing; run python -m dhr.extract_uss dataset=toy uss=colour"),
    ([], remove_source, r"missing; run python -m dhr.train_wss dataset=toy wss=cam, .* set wss.source.masks=<folder>"),
    ([], bring_masks, "MARS/train: holds masks of 16 of 16 images that do not say how they were made"),
    (["wss.source=null"], nothing, "wss.source: null: wss=mars improves the masks of another method; use wss.source=c"),
    (["wss.source=mars"], nothing, "wss.source: mars: its masks lie where those of wss=mars go; use wss.source=cam"),
    (["dataset.classes=ade"], nothing, "wss=mars: needs a background class.*; use wss=cam"),
    (["wss.source=simulated"], put_folder, "train_00005.png: unreadable .Is a directory.; fetch or make this file"),
    (["wss.source=dhr"], nothing, "DHR/train/train_00000.png: this WSS mask is missing; put the masks of this method"),
])  # fmt: skip
def test_what_cannot_be_improved_is_refused_before_any_work(
    tiny: Tiny, tmp_path: Path, words: list[str], prepare: Callable[[Tiny], None], said: str
) -> None:
    there = tiny.copy(tmp_path)
    prepare(there)
    before = {*there.times()}
    with pytest.raises(InputError, match=said):
        there.call("train_wss", *WORDS, *words)
    assert {*there.times()} == before


def test_other_source_masks_are_no_continuation(whole: Tiny, tmp_path: Path) -> None:
    there = whole.copy(tmp_path)
    folder = there.wss.parent / "Mine" / "train"
    first, *_, last = sorted(folder.glob("*.png"))
    first.write_bytes(last.read_bytes())
    with pytest.raises(InputError, match="made with other settings .*source"):
        make(there)


def test_brought_masks_are_learnt_from(tiny: Tiny, tmp_path: Path) -> None:
    there = tiny.copy(tmp_path)
    bring_masks(there)
    there.call("train", "wss=mars", "rebalancing=none", "dataset.max_epochs=1", "name=brought")
    assert there.run("brought").record.exists()
