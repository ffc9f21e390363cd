"""Class activation maps over scales and flips lie on each other and on the image."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from dhr.wss.cam import activation_maps


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
