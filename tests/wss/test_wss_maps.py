"""Class activation maps over scales and flips against loops, on the image; and the mask that is made of them."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from dhr.crf.none import NoCrf
from dhr.wss.cam import activation_maps, mask_of


@dataclass(frozen=True)
class Averaging:
    """Says the mean of what is under each cell."""

    scales: tuple[float, ...]
    recipe: SimpleNamespace = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "recipe", SimpleNamespace(scales=self.scales, flip=True))

    def __call__(self, image: Tensor) -> Tensor:
        return functional.avg_pool2d(image, 4)


@pytest.mark.parametrize("scales", [(1.0,), (0.5,), (2.0,), (1.0, 0.5, 1.5, 2.0)])
def test_a_ramp_comes_back(scales: tuple[float, ...]) -> None:
    ramp = torch.linspace(0.2, 0.9, 48)[None, :] + torch.linspace(0.0, 0.5, 32)[:, None]
    model: Any = Averaging(scales)
    maps = activation_maps(model, ramp.expand(2, 32, 48), torch.tensor([1.0, 0.0]))
    assert maps.shape == (2, 32, 48) and float(maps[0].max()) == 1 and not maps[1].any()
    inner = (slice(4, -4), slice(4, -4))  # beyond the outermost centres a map is constant
    ratio = (maps[0] / ramp)[inner]
    torch.testing.assert_close(ratio, ratio.mean().expand_as(ratio), rtol=1e-4, atol=0)


def slow_maps(model: Any, image: Tensor, tags: list[int], scales: tuple[float, ...], *, flip: bool) -> Tensor:
    """One view after the other, one class after the other."""
    height, width = image.shape[-2:]
    maps = torch.zeros(len(tags), height, width)
    for scale in scales:
        view = functional.interpolate(image[None], size=(int(height * scale), int(width * scale)), mode="bilinear")
        for mirrored in (False, True) if flip else (False,):
            seen = model(view.flip(-1) if mirrored else view)
            seen = functional.interpolate(seen.flip(-1) if mirrored else seen, size=(height, width), mode="bilinear")
            maps += seen[0].clamp_min(0)
    for number, tag in enumerate(tags):
        maps[number] *= tag / (float(maps[number].max()) or 1.0)
    return maps


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("scales", [(1.0,), (1.0, 0.5, 1.5, 2.0)])
def test_maps_are_the_sum_of_all_views_divided_by_its_maximum(scales: tuple[float, ...], flip: bool) -> None:
    """Of the tagged classes, the positive part; a class that is nowhere positive has none."""
    torch.manual_seed(3)
    layer, image, tags = torch.nn.Conv2d(3, 4, 3, stride=4, padding=1), torch.randn(3, 31, 42), [1, 0, 1, 1]
    layer.requires_grad_(requires_grad=False)
    layer.weight[3], cast(Tensor, layer.bias)[3] = 0.0, -1.0
    model: Any = Views(layer, SimpleNamespace(scales=scales, flip=flip))
    maps = activation_maps(model, image, torch.tensor(tags).float())
    torch.testing.assert_close(maps, slow_maps(layer, image, tags, scales, flip=flip))
    assert [float(each.max()) for each in maps] == [1, 0, 1, 0]


@dataclass(frozen=True)
class Views:
    """A layer with the settings of its maps."""

    layer: torch.nn.Module
    recipe: SimpleNamespace

    def __call__(self, image: Tensor) -> Tensor:
        maps: Tensor = self.layer(image)
        return maps


@pytest.mark.parametrize(("first_tag", "gamma", "due"), [
    (1, 1.0, [1, 1, 3, 0, 0]), (1, 2.0, [1, 1, 3, 3, 0]), (1, 0.1, [1, 0, 0, 0, 0]), (0, 2.0, [0, 0, 2, 2, 2]),
])  # fmt: skip
def test_the_background_is_what_the_largest_map_leaves_to_a_power(first_tag: int, gamma: float, due: list[int]) -> None:
    """Largest maps of 1, .7, .6, .4 and .2; the map of another class, which is 1 everywhere, does not count."""
    maps = torch.tensor([[[1.0, 0.7, 0.2, 0.1, 0.1]], [[1.0] * 5], [[0.0, 0.1, 0.6, 0.4, 0.2]]])
    tags, pixels = torch.tensor([1.0, 0.0, 1.0]), torch.zeros(3, 1, 5, dtype=torch.uint8)
    assert mask_of(maps, tags, pixels, crf=NoCrf(), gamma=gamma, first_tag=first_tag).tolist() == [due]
