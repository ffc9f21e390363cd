"""What every CRF promises: shape, type, place, range and sums of its marginals; and its inputs stay as given."""

from functools import cache

import hydra
import pytest
import torch
from torch import Tensor

from dhr.config.parts import build
from dhr.config.tree import opened, options
from dhr.crf.interface import Crf, normalised

SLOTS = 4
PRESENT = {
    "no tags": [1, 0, 0, 0],
    "no tags, no background": [0, 0, 0, 0],
    "one tag, no background": [0, 0, 1, 0],
    "all tags": [1, 1, 1, 1],
    "all tags, no background": [0, 1, 1, 1],
}
BATCHES = [*([name] for name in PRESENT), ["all tags", "one tag, no background", "all tags, no background"]]
CLOSE = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}  # of a sum of four rounded numbers


@cache
def crf(name: str) -> Crf:
    """The CRF of configs/crf/<name>.yaml, without processes or threads."""
    with opened("shapes"):
        node = hydra.compose(f"crf/{name}").crf
    found: Crf = build(node, **({"workers": 0} if "workers" in node else {}))
    return found


def given(images: list[str], size: tuple[int, int], dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Probabilities, pixels, valid boxes (whole, a part, none) and present channels."""
    count, random = len(images), torch.Generator().manual_seed(size[0])
    probabilities = torch.rand(count, SLOTS, *size, generator=random).to(dtype)
    probabilities[:, :, 0, 0] = 0  # a pixel of which nothing is known
    pixels = torch.randint(256, (count, 3, *size), generator=random).to(torch.uint8)
    valid = torch.ones(count, *size, dtype=torch.bool)
    if count > 1:
        valid[1, 1:], valid[1, :, -1:], valid[2] = False, False, False
    return probabilities, pixels, valid, torch.tensor([PRESENT[name] for name in images]) > 0


@pytest.mark.parametrize("dtype", CLOSE, ids=str)
@pytest.mark.parametrize("size", [(1, 1), (9, 7)])
@pytest.mark.parametrize("images", BATCHES, ids="; ".join)
@pytest.mark.parametrize("name", options("crf"))
def test_marginals(name: str, images: list[str], size: tuple[int, int], dtype: torch.dtype) -> None:
    probabilities, pixels, valid, present = inputs = given(images, size, dtype)
    before = [each.clone() for each in inputs]
    field = crf(name).on(pixels, valid)
    for result in (field(probabilities, present), field(probabilities, present)):  # a field serves several times
        assert (result.shape, result.dtype, result.device) == (probabilities.shape, dtype, probabilities.device)
        assert ((result >= 0) & (result <= 1)).all()  # a NaN is neither
        on = valid[:, None] & present[:, :, None, None]
        assert not result[~on].any()
        torch.testing.assert_close(result.float().sum(1), on.any(1).float(), atol=CLOSE[dtype], rtol=0)
    assert all(map(torch.equal, before, inputs))


@pytest.mark.parametrize("dtype", CLOSE, ids=str)
@pytest.mark.parametrize("images", BATCHES, ids="; ".join)
def test_normalised(images: list[str], dtype: torch.dtype) -> None:
    probabilities, _, valid, present = given(images, (5, 3), dtype)
    result = normalised(probabilities, valid, present)
    assert (result.shape, result.dtype) == (probabilities.shape, dtype)
    count = present.sum(1).clamp_min(1)[:, None]
    uniform = (present / count).to(dtype) * valid[:, 0, 0, None]
    assert torch.equal(result[:, :, 0, 0], uniform)
