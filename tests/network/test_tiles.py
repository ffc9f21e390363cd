"""Large images in tiles: every pixel is kept once, and no seam shows where a network looks no farther than a tile."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from near import CLASSES, STRIDE, TILES, predictor, smooth
from torch import Tensor

from dhr.core.cells import Cells, CentredCells, CornerCells
from dhr.crf.native import NativeCrf
from dhr.crf.none import NoCrf
from dhr.network.tiles import Tiles


@given(length=st.integers(1, 2000), steps=st.integers(1, 6), halves=st.integers(1, 4))
def test_every_pixel_is_kept_once_and_seen(length: int, steps: int, halves: int) -> None:
    tiles = Tiles(side=64 * (steps + halves), overlap=64 * halves)
    spans = tiles.spans(length)
    assert [pixel for span in spans for pixel in range(span.first, span.last)] == list(range(length))
    for span in spans:
        assert 0 <= span.start <= span.first < span.last <= span.stop <= length
        assert span.stop - span.start <= tiles.side and span.start % 64 == 0
    total = torch.zeros(-(-length // STRIDE))
    for span in spans:
        cells = -(-(span.stop - span.start) // STRIDE)
        total[span.start // STRIDE :][:cells] += span.weights(cells, STRIDE)
    if steps >= halves:  # else three tiles overlap, and their weights are divided by their sum
        torch.testing.assert_close(total, torch.ones_like(total))


def test_which_images_are_cut() -> None:
    assert TILES.of((100, 100)) == [] and len(TILES.of((100, 101))) == 1 and len(TILES.of((200, 300))) == 3 * 4
    assert Tiles().of((1024, 2048)) == [] and len(Tiles().of((3000, 4000))) == 4 * 5


@pytest.mark.parametrize("size", [(256, 256), (301, 190), (129, 640), (5, 3001)])
@pytest.mark.parametrize("scales", [(1.0,), (0.5, 1.0)])
def test_tiles_give_what_the_whole_image_gives(size: tuple[int, int], scales: tuple[float, ...]) -> None:
    pixels = smooth(*size)
    # The cells of a mirrored image begin at its other edge: where that is no edge of a cell, tiles have other cells.
    flip = size[1] % STRIDE == 0
    tiled, whole = (replace(predictor(tiles=tiles), scales=scales, flip=flip) for tiles in (TILES, None))
    # Half sizes are rounded to pixels, for tiles elsewhere than for the image.
    torch.testing.assert_close(tiled.soft(pixels), whole.soft(pixels), atol=1e-3 if scales == (1.0,) else 0.05, rtol=0)


def test_tiles_of_a_released_network_differ_by_less_than_a_cell() -> None:
    pixels = smooth(300, 400)
    tiled, whole = predictor(cells=CornerCells()), predictor(cells=CornerCells(), tiles=None)
    difference = (tiled.soft(pixels).float() - whole.soft(pixels).float()).abs()
    assert difference.mean() < 0.02 and difference.max() < 0.2


@pytest.mark.parametrize("cells", [CentredCells(), CornerCells()])
def test_cells_are_centred(cells: Cells) -> None:
    """A ramp over the image stays the ramp, whatever the grid is."""
    rows, columns = torch.arange(40.0), torch.arange(60.0)
    maps = torch.nn.functional.interpolate(
        columns.expand(1, 1, 40, 60), (10, 15), mode="bilinear", align_corners=isinstance(cells, CornerCells)
    )
    made = cells.centred(maps, (40, 60), stride=STRIDE)[0, 0]
    torch.testing.assert_close(made, (torch.arange(15.0) * STRIDE + 1.5).expand(10, 15), atol=1e-3, rtol=0)
    assert len(rows) == 40


def test_masks_of_tiles_are_those_of_the_whole_image() -> None:
    pixels = smooth(300, 400)
    pictures = [("large", pixels, None), ("small", pixels[:, :90, :100], None)]
    for crf, share in ((NoCrf(), 1.0), (NativeCrf(workers=0, iterations=2), 0.98)):
        tiled = dict(replace(predictor(), crf=crf).masks(pictures))
        whole = dict(replace(predictor(tiles=None), crf=crf).masks(pictures))
        assert torch.equal(tiled["small"], whole["small"])
        assert (tiled["large"] == whole["large"]).float().mean() >= share - 1e-3


def test_tags_hold_in_all_tiles() -> None:
    allowed = torch.tensor([True, False, True, False, False])
    (_, mask), = predictor().masks([("large", smooth(300, 400), allowed)])  # fmt: skip
    assert set(mask.unique().tolist()) <= {0, 2}


def test_probabilities_are_handed_out_as_soft_gives_them() -> None:
    taken: dict[str, Tensor] = {}
    pixels = smooth(300, 400)
    list(predictor().masks([("large", pixels, None)], soft=taken.__setitem__))
    assert torch.equal(taken["large"], predictor().soft(pixels)) and taken["large"].shape == (CLASSES, 300, 400)
