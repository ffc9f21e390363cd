"""What a network says of a place is found at that place: a ramp comes back as it was."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from dhr.core.cells import Cells, CentredCells, CornerCells
from dhr.core.sample import NetworkOutput
from dhr.network.multi_scale import multi_scale_probabilities

STRIDE = 4


@dataclass(frozen=True)
class Decoder:
    stride: int = STRIDE


@dataclass(frozen=True)
class Seeing:
    """Says what it sees, as a probability: the mean under each cell, or the pixel at its corner."""

    cells: Cells
    centred: bool
    decoder: Decoder = Decoder()

    def __call__(self, image: Tensor) -> NetworkOutput:
        seen = functional.avg_pool2d(image, STRIDE, ceil_mode=True) if self.centred else image[..., ::STRIDE, ::STRIDE]
        logits = torch.cat([seen, 1 - seen], 1).clamp(1e-3, 1).log()
        return NetworkOutput(logits, logits, (logits, logits))


def ramp(size: tuple[int, int]) -> Tensor:
    """(1,H,W) in [.2,.8], linear in both directions."""
    rows, columns = (torch.arange(length) / max(size) for length in size)
    return 0.2 + 0.3 * rows[None, :, None] + 0.3 * columns[None, None]


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("scales", [(1.0,), (0.5,), (1.5, 1.0, 0.5, 2.0)])
@pytest.mark.parametrize("size", [(48, 64), (61, 50), (47, 63), (49, 65)])
def test_a_learnt_ramp_comes_back(size: tuple[int, int], scales: tuple[float, ...], flip: bool) -> None:
    network: Any = Seeing(CentredCells(), centred=True)
    made = multi_scale_probabilities(network, ramp(size), scales=scales, flip=flip)
    assert made.shape == (2, *size)
    inner = (slice(8, -16), slice(16, -16))  # half cells at the rim, a whole one where the last cell hangs over it
    torch.testing.assert_close(made[0][inner], ramp(size)[0][inner], atol=1e-5, rtol=0)


def test_released_cells_lie_on_the_corners() -> None:
    size = (33, 49)
    for cells, exact in ((CornerCells(), True), (CentredCells(), False)):
        network: Any = Seeing(cells, centred=False)
        made = multi_scale_probabilities(network, ramp(size), scales=(1.0,), flip=True)[0]
        assert (float((made - ramp(size)[0]).abs().max()) < 1e-5) == exact
