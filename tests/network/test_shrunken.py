"""Images that are made small for the network: their masks are as large as they are."""

from dataclasses import replace

import pytest
import torch
from near import TILES, predictor, smooth
from torch.nn import functional

from dhr.crf.native import NativeCrf
from dhr.network.shrunken import enlarged_argmax, shrunk


@pytest.mark.parametrize("size", [(20, 31), (7, 5), (64, 64), (1, 1)])
def test_the_strips_are_the_whole(monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]) -> None:
    maps = torch.rand(4, 6, 9, generator=torch.Generator().manual_seed(0))
    due = functional.interpolate(maps[None], size, mode="bilinear", align_corners=False)[0].argmax(0)
    assert torch.equal(enlarged_argmax(maps, size), due)
    monkeypatch.setattr("dhr.network.shrunken.STRIP", 4 * 3 * size[1])  # three rows at a time
    assert torch.equal(enlarged_argmax(maps, size), due)


@pytest.mark.parametrize(
    ("size", "longest", "due"),
    [((40, 100), 50, (20, 50)), ((100, 33), 10, (10, 3)), ((9, 1000), 100, (1, 100)), ((40, 100), 100, (40, 100))],
)
def test_the_longer_side_says_how_small(size: tuple[int, int], longest: int, due: tuple[int, int]) -> None:
    assert shrunk(smooth(*size), longest).shape == (3, *due)


@pytest.mark.parametrize("longest", [100, 400])
def test_the_mask_of_a_shrunken_image_is_as_large_as_the_image(longest: int) -> None:
    """100 pixels are seen whole, 400 in tiles."""
    pixels, taken = smooth(600, 800), {}
    small = shrunk(pixels, longest)
    shrinking = replace(predictor(), longest=longest)
    (_, mask), = shrinking.masks([("a", pixels, None)], soft=taken.__setitem__)  # fmt: skip
    assert mask.shape == (600, 800) and mask.dtype == torch.uint8
    soft = predictor().soft(small)
    assert torch.equal(taken["a"], soft) and torch.equal(shrinking.soft(pixels), soft)
    large = functional.interpolate(soft[None].float(), (600, 800), mode="bilinear")[0].argmax(0)
    assert (mask == large).float().mean() > 0.999, "all but where half numbers round two classes to one"


def test_an_image_that_is_small_enough_is_not_touched() -> None:
    pixels = smooth(90, 100)
    (_, due), (_, found) = (
        next(iter(each.masks([("a", pixels, None)]))) for each in (predictor(), replace(predictor(), longest=100))
    )
    assert torch.equal(found, due)


def test_the_crf_sees_the_shrunken_image() -> None:
    """What it says of a tile and of the whole shrunken image is the same but for the seams."""
    pixels = smooth(600, 800)
    crf = NativeCrf(workers=0, iterations=2)
    whole, tiled = (replace(predictor(tiles=tiles), crf=crf, longest=300) for tiles in (None, TILES))
    (_, due), (_, found) = (next(iter(each.masks([("a", pixels, None)]))) for each in (whole, tiled))
    assert (found == due).float().mean() > 0.97


def test_tags_hold_in_a_shrunken_image() -> None:
    allowed = torch.tensor([True, False, True, False, False])
    (_, mask), = replace(predictor(), longest=100).masks([("a", smooth(300, 400), allowed)])  # fmt: skip
    assert set(mask.unique().tolist()) == {0, 2}
