"""Pixel-adaptive refinement against one that goes from pixel to pixel, and what it does to edges."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from dhr.crf.pamr import SMALLEST, Pamr

DILATIONS = (1, 2)
Places = list[tuple[int, int]]


def averaged(image: np.ndarray, values: np.ndarray, at: tuple[int, int], around: Places, softness: float) -> np.ndarray:
    """(M) values of a pixel of an image (3,H,W) after one step."""
    if not around:
        return values[:, at[0], at[1]]
    deviation = np.array([image[:, i, j] for i, j in [at, *around]]).std(0)
    scale = softness * (deviation + SMALLEST)
    logits = [-float((abs(image[:, at[0], at[1]] - image[:, i, j]) / scale).mean()) for i, j in around]
    shares = [math.exp(logit - max(logits)) for logit in logits]
    return sum(share / sum(shares) * values[:, i, j] for share, (i, j) in zip(shares, around, strict=True))


def slow(pixels: np.ndarray, start: np.ndarray, box: tuple[int, int, int, int], pamr: Pamr) -> np.ndarray:
    """(M,H,W) float64 of one image (3,H,W) whose box (top, left, bottom, right) shows image."""
    image, values = pixels.astype(float) / 255, start.astype(float)
    places = list(itertools.product(range(box[0], box[2]), range(box[1], box[3])))
    turns = [turn for turn in itertools.product((-1, 0, 1), repeat=2) if any(turn)]
    for _ in range(pamr.iterations):
        after = np.zeros_like(values)
        for y, x in places:
            around = [(y + i * d, x + j * d) for d in pamr.dilations for i, j in turns]
            around = [place for place in around if place in places]
            after[:, y, x] = averaged(image, values, (y, x), around, pamr.softness)
        values = after
    return values


def scores(count: int, size: tuple[int, int], seed: int = 0) -> Tensor:
    values = torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(seed))
    return values / values.sum(1, keepdim=True)


@pytest.mark.parametrize("box", [(0, 0, 7, 9), (1, 2, 5, 8), (3, 3, 4, 4), (0, 0, 1, 9)])
@pytest.mark.parametrize("iterations", [0, 1, 3])
def test_it_is_the_mean_of_like_neighbours(box: tuple[int, int, int, int], iterations: int) -> None:
    pamr = Pamr(iterations=iterations, dilations=DILATIONS, softness=0.3)
    pixels = torch.randint(256, (1, 3, 7, 9), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    valid = torch.zeros(1, 7, 9, dtype=torch.bool)
    valid[:, box[0] : box[2], box[1] : box[3]] = True
    start = scores(1, (7, 9)) * valid[:, None]
    found = pamr.on(pixels, valid)(start, torch.ones(1, 3, dtype=torch.bool))
    expected = slow(pixels[0].numpy(), start[0].numpy(), box, pamr)
    np.testing.assert_allclose(found[0].numpy(), expected, atol=2e-5)


def test_labels_spread_to_the_edge_of_a_surface_and_not_beyond() -> None:
    pixels = torch.full((1, 3, 32, 32), 40, dtype=torch.uint8)
    pixels[..., 16:] = 200
    mask = torch.zeros(32, 32)
    mask[8:24, 18:26] = 1  # a part of the right half
    start = torch.stack([1 - mask, mask])[None]
    field = Pamr().on(pixels, torch.ones(1, 32, 32, dtype=torch.bool))
    found = field(start, torch.ones(1, 2, dtype=torch.bool))[0, 1]
    assert float(found[:, :16].max()) < 0.05  # the other surface
    assert float(found[:, 16:].min()) > 0.1  # all of its own


def test_images_of_a_batch_do_not_meet() -> None:
    pixels = torch.randint(256, (3, 3, 12, 10), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))
    valid, present = torch.ones(3, 12, 10, dtype=torch.bool), torch.ones(3, 3, dtype=torch.bool)
    start = scores(3, (12, 10))
    together = Pamr().on(pixels, valid)(start, present)
    for number in range(3):
        one = slice(number, number + 1)
        alone = Pamr().on(pixels[one], valid[one])(start[one], present[one])
        torch.testing.assert_close(alone, together[one])


def test_no_distance_is_refused() -> None:
    with pytest.raises(ValueError, match="dilations"):
        Pamr(dilations=())
