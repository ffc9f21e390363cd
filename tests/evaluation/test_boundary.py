"""Boundary IoU: equal to erosion of each class by itself, as in the paper; what happens at borders and at 255."""

import numpy as np
import pytest
from scipy.ndimage import binary_erosion
from test_scores import Pair, case, table

from dhr.core.labels import IGNORE
from dhr.evaluation.boundary import BoundaryScores, distance
from dhr.evaluation.counts import Counted, counted
from dhr.evaluation.loops import mark_band


def inner(mask: np.ndarray, reach: int) -> np.ndarray:
    """The band of one class: what is lost when it is eroded so many times, with nothing outside the image."""
    return mask & ~binary_erosion(mask, np.ones((3, 3)), iterations=reach, border_value=0)


def slow(pairs: list[Pair], count: int) -> np.ndarray:
    """(3,count) pixels of each class in the bands of truth, of prediction and of both."""
    counts = np.zeros((3, count), np.int64)
    for prediction, truth in pairs:
        reach = max(1, round(0.02 * (truth.shape[0] ** 2 + truth.shape[1] ** 2) ** 0.5))
        for label in range(count):
            of_truth = inner(truth == label, reach)
            of_prediction = inner((prediction == label) & (truth != IGNORE), reach)
            counts[:, label] += of_truth.sum(), of_prediction.sum(), (of_truth & of_prediction).sum()
    return counts


def counts_of(pairs: list[Pair]) -> Counted:
    found = counted([(f"{number}", *pair) for number, pair in enumerate(pairs)], first_tag=1)
    assert found is not None
    return found


def blocks(seed: int) -> list[Pair]:
    """Regions of VOC's kind: coarse blocks with ragged edges, 255 along some of them; sizes around whole words."""
    rng = np.random.default_rng(seed)
    pairs = []
    for _ in range(2):
        height, width = rng.integers(1, 40), rng.choice([1, 2, 31, 63, 64, 65, 127, 128, 130])
        coarse = rng.integers(0, 4, (height // 9 + 1, width // 9 + 1)).repeat(9, 0).repeat(9, 1)
        truth = coarse[:height, :width].astype(np.uint8)
        prediction = np.roll(truth, rng.integers(0, 4, 2), (0, 1))
        truth = np.where(np.roll(truth, 1, 1) != truth, IGNORE, truth) if rng.random() < 0.5 else truth
        pairs.append((prediction, truth.astype(np.uint8)))
    return pairs


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("kind", [lambda seed: case(seed)[1], blocks], ids=["noise", "regions"])
def test_one_band_is_that_of_every_class(seed: int, kind: object) -> None:
    pairs = kind(seed)  # type: ignore[operator]
    assert np.array_equal(counts_of(pairs).boundary[:, :12], slow(pairs, 12))


@pytest.mark.parametrize("reach", [1, 2, 5, 17, 40, 44, 45, 99])
def test_any_distance(reach: int) -> None:
    truth = np.zeros((90, 200), np.uint8)
    truth[3:80, 5:190] = 1
    truth[30:34, 90:100] = 2
    band = np.full((90, 200), 7, np.uint8)  # whatever was there before
    mark_band(truth.ravel(), truth.shape, reach, np.empty((2, truth.size), np.uint8), band.ravel())
    assert np.array_equal(band, sum(inner(truth == label, reach) for label in range(3)))


def test_memory_is_used_again_for_smaller_and_larger_images() -> None:
    pairs = [
        (mask, mask)
        for size, label in (((5, 7), 1), ((3, 3), 2), ((9, 8), 1))
        for mask in [np.full(size, label, np.uint8)]
    ]
    pairs[0][1][2, 3] = IGNORE
    assert np.array_equal(counts_of(pairs).boundary[:, :3], slow(pairs, 3))


def test_the_distance_is_two_percent_of_the_diagonal() -> None:
    assert [distance(size) for size in ((1, 1), (300, 400), (375, 500), (480, 640))] == [1, 10, 12, 16]


def test_by_hand() -> None:
    truth = np.zeros((9, 9), np.uint8)
    truth[2:7, 2:7] = 1  # 25 pixels, of which the ring of 16 is in the band, of one pixel
    prediction = np.roll(truth, 1, 1)
    scores = BoundaryScores.of(counts_of([(prediction, truth)]).boundary, table(3))
    # Two rings of 5 x 5, one column apart, share 4 pixels above, 4 below, and none of the columns between.
    assert scores.iou[1] == pytest.approx(100 * 8 / (16 + 16 - 8))
    assert np.isnan(scores.iou[2])
    assert scores.miou == pytest.approx(scores.iou[:2].mean())


def test_what_is_ignored_in_the_truth_lowers_no_score() -> None:
    truth = np.zeros((60, 60), np.uint8)
    truth[20:40, 20:40] = IGNORE
    truth[22:38, 22:38] = 1
    for border in (0, 1):  # however the pixels that are not scored are predicted
        prediction = np.where(truth == IGNORE, border, truth).astype(np.uint8)
        scores = BoundaryScores.of(counts_of([(prediction, truth)]).boundary, table(2))
        assert scores.iou.tolist() == [100, 100]


def test_nothing_scored_is_null() -> None:
    ignored = np.full((4, 4), IGNORE, np.uint8)
    scores = BoundaryScores.of(counts_of([(ignored, ignored)]).boundary, table(2))
    assert scores.as_json() == {"miou": None, "distance_share": 0.02}
