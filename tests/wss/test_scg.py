"""Maps that follow the features of their classifier: what they cover, one class after the other, the whole method."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tiny import TRAIN, Tiny
from torch import Tensor
from torch.nn import functional

from dhr.backbone.resnet import ResNet
from dhr.core.errors import InputError
from dhr.disk.mask import read_mask
from dhr.training.optimizer import AdamWithDecay
from dhr.wss.cam import CamRecipe, TagClassifier, activation_maps
from dhr.wss.scg import LONGEST, at_most, correlated_maps
from dhr.wss.self_correlation import SelfCorrelation


class Colours:
    """A classifier whose features are colours, each cell of 4 x 4 pixels; its class is how red something is."""

    recipe = SimpleNamespace(scales=(1.0,), flip=True)

    def backbone(self, image: Tensor) -> list[Tensor]:
        return [functional.avg_pool2d(image, 4)] * 4

    def __call__(self, image: Tensor) -> Tensor:
        return self.backbone(image)[3][:, :1]


def test_a_map_covers_what_looks_like_the_cells_it_is_sure_of() -> None:
    """The left half is red, only its corner bright; the right half is blue."""
    image = torch.zeros(3, 16, 32)
    image[0, :, :16], image[2, :, 16:] = 0.2, 1.0
    image[0, :4, :4] = 1.0
    model: Any = Colours()
    plain = activation_maps(model, image, torch.tensor([1.0]))[0]
    maps = correlated_maps(model, SelfCorrelation(), image, torch.tensor([1.0]))[0]
    assert float(plain[8:, :12].max()) < 0.3 and float(maps[8:, :12].min()) > 0.9
    assert float(maps[:, 20:].max()) < 0.1


@torch.no_grad()
def test_maps_are_those_of_one_class_after_the_other() -> None:
    torch.manual_seed(2)

    def backbone(*, trained: bool = False) -> ResNet:
        return ResNet("resnet18", widths=(8, 8, 8, 8))

    model = TagClassifier(CamRecipe(backbone, AdamWithDecay(), scales=(1.0, 0.5)), num_tags=3).eval()
    image, tags, rule = torch.randn(3, 60, 83), torch.tensor([1.0, 0.0, 1.0]), SelfCorrelation(first_order=0.2)
    features, plain = model.backbone(image[None])[2], activation_maps(model, image, tags)
    maps = correlated_maps(model, rule, image, tags)
    for tag in (0, 2):
        cells = functional.interpolate(plain[tag][None, None], size=features.shape[-2:], mode="bilinear")
        followed = rule.maps(cells / cells.max(), features, torch.ones(1, *features.shape[-2:]) > 0)
        due = functional.interpolate(followed, size=(60, 83), mode="bilinear")[0, 0]
        assert float(due.max()) > 0
        torch.testing.assert_close(maps[tag], due)
    assert not maps[1].any() and not correlated_maps(model, rule, image, torch.zeros(3)).any()


def test_a_large_image_has_as_many_cells_as_memory_allows() -> None:
    features = torch.randn(1, 2, 99, 3 * LONGEST)
    cells = features.unfold(2, 3, 3).unfold(3, 3, 3).mean((-2, -1))
    torch.testing.assert_close(at_most(LONGEST, features), cells)
    assert at_most(LONGEST, torch.zeros(1, 2, 1, 2 * LONGEST)).shape == (1, 2, 1, LONGEST)


@pytest.fixture(scope="module")
def made(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    there = tiny.copy(tmp_path_factory.mktemp("scg"))
    there.take_tags_away(there.layout.ids("train")[3])
    there.call("train_wss", "wss=scg", "maps=true")
    return there


def test_the_whole_method(made: Tiny) -> None:
    ids, folder = [*made.layout.ids("train")], made.wss.parent / "SCG"
    masks = {image_id: read_mask(folder / "train" / f"{image_id}.png") for image_id in ids}
    assert len(masks) == TRAIN and not masks[ids[3]].any()
    for image_id in ids:
        tags = made.layout.tags("train", image_id).read_text()
        assert len({*np.unique(masks[image_id]).tolist()} - {0}) <= tags.count("<object>")
    assert sum(bool(mask.any()) for mask in masks.values()) > TRAIN / 2
    assert len([*(folder / ".maps" / "train").iterdir()]) >= TRAIN


def test_masks_that_are_missing_are_made_as_they_were(made: Tiny, tmp_path: Path) -> None:
    there = made.copy(tmp_path)
    masks = sorted((there.wss.parent / "SCG" / "train").glob("*.png"))
    before = [path.read_bytes() for path in masks]
    for path in masks[::3]:
        path.unlink()
    there.call("train_wss", "wss=scg", "maps=true")
    assert [path.read_bytes() for path in masks] == before
    with pytest.raises(InputError, match="other settings"):
        there.call("train_wss", "wss=scg", "wss.recipe.gamma=2.0")


def test_masks_of_another_classifier_are_not_mixed_in(made: Tiny, tmp_path: Path) -> None:
    there = made.copy(tmp_path)
    there.call("train_wss", "wss=cam", "overwrite=true", "seed=7")
    with pytest.raises(InputError, match="/SCG/train: .*other settings .classifier"):
        there.call("train_wss", "wss=scg")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["wss.source=mars"], "has no tag classifier to start from; use wss.source=cam"),
        (["wss.source.masks=/absent/{split}"], "/absent/classifier.safetensors: the tag classifier is missing"),
    ],
)
def test_a_source_without_a_classifier_is_refused(tiny: Tiny, words: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        tiny.call("train_wss", "wss=scg", *words)
