"""RS+EPM as a whole: what is learnt from when on, masks of every image, the same ones however often it is killed."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import NETWORK, TRAIN, Tiny

from dhr.config.compose import compose
from dhr.config.parts import build
from dhr.core.errors import InputError
from dhr.core.sample import Batch
from dhr.disk.mask import read_mask
from dhr.runtime.signals import Stopped
from dhr.stage.train_wss import workshop_of
from dhr.wss.rsepm import RecurSeedAndEdgePredictMix
from dhr.wss.steps import Training

EPOCHS = 4
SUFFIXES = (".png", ".json", ".safetensors")
METHOD = (
    *NETWORK,
    "wss=rsepm",
    f"wss.recipe.epochs={EPOCHS}",
    "wss.recipe.seed_start=0.25",
    "wss.recipe.mix_start=0.5",
)
WORDS = (*METHOD, "wss.recipe.scales=[1.0]", "wss.recipe.flip=false")


def make(there: Tiny, *words: str) -> dict[str, bytes]:
    """The files of the method, without the ledger, which says when they were written."""
    there.call("train_wss", *WORDS, *words)
    folder = there.wss.parent / "RSEPM"
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.suffix in SUFFIXES}


def training_of(tiny: Tiny, *words: str) -> Training:
    """The step that trains the network."""
    cfg = compose("train_wss", tiny.words("train_wss", *WORDS, *words))
    torch.manual_seed(0)
    recipe = build(cfg.wss.recipe)
    training: Training = recipe.steps(workshop_of(cfg, recipe))[0]
    return training


def model_of(tiny: Tiny, *words: str) -> tuple[RecurSeedAndEdgePredictMix, Batch]:
    """The network as it starts, and the first crops."""
    training = training_of(tiny, *words)
    module: Any = training.module
    crops = training.shop.crops(None)
    return module, Batch.of([crops[0, position] for position in range(4)], torch.device("cpu"))


@pytest.mark.filterwarnings("ignore:.*self.trainer. reference is not registered")
def test_losses_come_in_at_their_epochs(tiny: Tiny) -> None:
    """Until then the decoder learns nothing; outside of a training all of them are there, as in its last steps."""
    model, batch = model_of(tiny)
    passes: list[int] = []
    learns, reconstructs = [], []
    for epoch in (0, 1, 2, None):
        trained = copy.deepcopy(model)
        trained.network.register_forward_pre_hook(lambda *_: passes.append(1))
        if epoch is not None:
            trained.trial_epoch = epoch
        passes.clear()
        torch.manual_seed(1)
        trained.training_step(batch, 0).backward()
        gradients = [
            float(each.grad.abs().sum()) for each in trained.network.decoder.parameters() if each.grad is not None
        ]
        learns.append((len(passes), sum(gradients) > 0))
        reconstructs.append(len(gradients) == len([*trained.network.decoder.parameters()]))
    assert learns == [(1, False), (1, True), (2, True), (2, True)]
    assert all(reconstructs)  # also while it learns nothing: several processes need a gradient of every parameter


@pytest.mark.filterwarnings("ignore:.*self.trainer. reference is not registered")
def test_the_distance_of_the_maps_counts_as_much_as_asked_for(tiny: Tiny) -> None:
    """Outside of a training a step has all losses, also those of the mixed crops."""
    loss: dict[float, float] = {}
    for weight in (0.0, 0.25, 1.0):
        model, batch = model_of(tiny, f"wss.recipe.reconstruction={weight}")
        torch.manual_seed(1)
        loss[weight] = float(model.training_step(batch, 0).detach())
    assert loss[1.0] - loss[0.0] > 0.01
    assert loss[0.25] - loss[0.0] == pytest.approx((loss[1.0] - loss[0.0]) / 4, rel=1e-3)


def test_the_time_said_is_the_mean_of_the_steps_that_are_left(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_step: Callable[[int], None]
) -> None:
    """Of 4 epochs one learns tags, one seeds as well, two mixed crops as well."""
    there, seconds = tiny.copy(tmp_path), {0: 1.0, 1: 2.0, 2: 4.0}
    tried: list[int] = []

    def of_step(module: RecurSeedAndEdgePredictMix, _: Batch) -> float:
        tried.append(module.kind_of(module.trial_epoch))
        return seconds[tried[-1]]

    monkeypatch.setattr("dhr.wss.steps._seconds_of_step", of_step)
    assert training_of(there).trial() == pytest.approx((1 + 2 + 4 + 4) / 4, abs=0.5)  # crops are read as well
    assert sorted(tried) == [0, 1, 2]
    at_step(TRAIN // 4 + 1)  # in the second epoch
    with pytest.raises(Stopped):
        make(there)
    assert training_of(there).trial() == pytest.approx((2 + 4 + 4) / 3, abs=0.5)


def test_masks_are_made_of_tags_and_made_once(tiny: Tiny, tmp_path: Path) -> None:
    there = tiny.copy(tmp_path)
    files = make(there)
    assert {"network.safetensors", "recipe.json", "train.json"} <= files.keys()
    assert len([name for name in files if name.endswith(".png")]) == TRAIN
    split = there.layout.split("train")
    for path in sorted((there.wss.parent / "RSEPM" / "train").glob("*.png")):
        assert read_mask(path).shape == read_mask(split / "mask" / path.name).shape
    times = there.times()
    assert make(there) == files and there.times() == times
    with pytest.raises(InputError, match="other settings .recipe.*overwrite=true"):
        make(there, "wss.recipe.mix_start=0.75")


def test_a_training_that_was_killed_ends_with_the_same_files(
    tiny: Tiny, tmp_path: Path, at_step: Callable[[int], None]
) -> None:
    whole = make(tiny.copy(tmp_path / "whole"))
    there = tiny.copy(tmp_path / "killed")
    for number in (3, 5, 6):  # among the tags, the seeds, the mixed crops
        at_step(number)
        with pytest.raises(Stopped):
            make(there)
    at_step(0)
    assert make(there) == whole


def test_a_network_without_maps_is_refused(tiny: Tiny) -> None:
    with pytest.raises(InputError, match="classifier: none: .*use classifier=cam"):
        tiny.call("train_wss", *WORDS, "classifier=none")


@pytest.mark.parametrize("words", [["wss.recipe.epochs=1"], ["wss.recipe.seed_start=0.76"]])
def test_a_decoder_that_would_never_learn_is_refused(tiny: Tiny, words: list[str]) -> None:
    """Its masks would be noise."""
    with pytest.raises(InputError, match="seed_start: .*would learn nothing; use more wss.recipe.epochs"):
        tiny.call("train_wss", *WORDS, *words)


def test_masks_from_elsewhere_are_trained_on_as_before(tiny: Tiny) -> None:
    cfg = compose("train", tiny.words("train", "wss=rsepm"))
    assert cfg.wss.published == "I" and cfg.wss.masks.endswith("RSEPM/{split}")
