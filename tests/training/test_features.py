"""USS features from the store, or from the USS model in every step."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import Tiny
from torch import Tensor, nn
from torch.nn import functional

from dhr.config.compose import compose
from dhr.core.errors import InputError
from dhr.core.sample import Batch
from dhr.disk.atomic import read_json
from dhr.training.features import Computed, Stored

SIDE, STRIDE = 30, 6


class Blocks(nn.Module):
    """Means of patches of seven pixels and where they lie: no scale, flip or place gives the same numbers."""

    patch_size, dim = 7, 4

    def forward(self, image: Tensor) -> Tensor:
        ramp = torch.linspace(0, 1, image.shape[-1]).expand(len(image), 1, *image.shape[-2:])
        return functional.avg_pool2d(torch.cat([image, ramp], 1), 7)


def batch() -> Batch:
    pixels = torch.randint(0, 256, (2, 3, SIDE, SIDE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor([[0, 0, SIDE, SIDE], [6, 0, 12, 18]])
    masks, whole = torch.zeros(2, SIDE, SIDE, dtype=torch.uint8), torch.tensor([True, False])
    made = Batch(("a", "b"), pixels, torch.ones(2, 3), masks, boxes, 3, whole)
    return replace(made, pixels=pixels * made.valid[:, None])


@pytest.mark.parametrize("flip", [False, True])
def test_computed_features_are_the_mean_over_scales_and_flips(flip: bool) -> None:
    given = batch()
    found = Computed(scales=(1.0, 0.5), flip=flip).complete(Blocks, stride=STRIDE)(given).uss_features
    views = []
    for side in (35, 21):  # 30 and 15, rounded up to whole patches
        wide = functional.interpolate(given.image, size=(side, side), mode="bilinear")
        for turned in (False, True)[: 1 + flip]:
            maps = Blocks()(wide.flip(-1) if turned else wide)
            maps = maps.flip(-1) if turned else maps
            views.append(functional.interpolate(maps, size=(5, 5), mode="bilinear"))
    expected = torch.stack(views).mean(0)
    expected[1, :, :1] = expected[1, :, 3:] = expected[1, :, :, 3:] = 0  # off the box
    assert found is not None
    torch.testing.assert_close(found, expected)


def test_stored_features_come_with_the_crops() -> None:
    given = batch().with_features(torch.rand(2, 4, 5, 5))
    assert Stored().complete(Blocks, stride=STRIDE)(given) is given


@pytest.mark.parametrize("refresh", ["step", "round"])
def test_a_run_needs_no_store(tiny: Tiny, tmp_path: Path, refresh: str) -> None:
    there = tiny.copy(tmp_path)
    shutil.rmtree(there.features)
    there.call("train", "wss=cam", "features=computed", f"refresh={refresh}", "name=found")
    record = read_json(there.run("found").record)
    assert (record["features"], record["status"]) == ("computed", "finished")
    assert not there.features.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("features=computed rebalancing=none", "features: computed: rebalancing=none makes no labels"),
        ("features=computed dataset=voc", "uss.weights: .*CAUSE_VOC2012.pt: no such file"),
    ],
)
def test_what_cannot_be_computed_is_refused(words: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        compose("train", words.split())
