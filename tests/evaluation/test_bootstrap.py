"""Intervals: equal to a loop over replicates, alike those of the classical bootstrap, the same in any order."""

import numpy as np
import pytest
import torch
from test_scores import case, table

from dhr.evaluation.bootstrap import REPLICATES, Intervals, interval_json, weights_of
from dhr.evaluation.counts import SplitCounts, counted, scores_of_split

CLASSES = 4


def images(seed: int, count: int) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Images of other sizes; some classes are in a few of them only."""
    rng, pairs = np.random.default_rng(seed), []
    for number in range(count):
        size = rng.integers(4, 12, 2)
        truth = rng.choice(CLASSES, size, p=rng.dirichlet(np.full(CLASSES, 0.5))).astype(np.uint8)
        wrong = rng.random(size) < rng.beta(2, 5)
        prediction = np.where(wrong, rng.integers(0, CLASSES, size), truth).astype(np.uint8)
        truth[rng.random(size) < 0.1] = 255
        pairs.append((f"image {number}", prediction, truth))
    return pairs


def intervals_of(pairs: list[tuple[str, np.ndarray, np.ndarray]], chunk: int) -> Intervals:
    counts = SplitCounts(CLASSES)
    for start in range(0, len(pairs), chunk):
        some = counted(pairs[start : start + chunk], first_tag=1)
        assert some is not None
        counts.update(some)
    found = scores_of_split(counts.compute(), table(CLASSES)).intervals
    assert found is not None
    return found


def iou_of(pairs: list[tuple[str, np.ndarray, np.ndarray]], weights: np.ndarray) -> list[float]:
    """IoU of each class in percent where each image counts so often."""
    found = []
    for label in range(CLASSES):
        hit = union = 0
        for (_, prediction, truth), weight in zip(pairs, weights.tolist(), strict=True):
            scored = truth != 255
            hit += weight * int(((prediction == label) & (truth == label)).sum())
            union += weight * int((((prediction == label) | (truth == label)) & scored).sum())
        found.append(100 * hit / union if union else np.nan)
    return found


def percentiles(values: list[float]) -> list[float]:
    return np.percentile([value for value in values if not np.isnan(value)], [2.5, 97.5]).tolist()


def test_a_loop_over_replicates() -> None:
    pairs = images(1, 6)
    weights = np.stack([weights_of(image_id) for image_id, _, _ in pairs])
    replicates = [iou_of(pairs, weights[:, number]) for number in range(REPLICATES)]
    found = intervals_of(pairs, 4)
    for label in range(CLASSES):
        assert found.iou[label].tolist() == pytest.approx(percentiles([row[label] for row in replicates]))
    means = [float(np.nanmean(row)) if not np.isnan(row).all() else np.nan for row in replicates]
    assert found.miou.tolist() == pytest.approx(percentiles(means))


def test_alike_the_bootstrap_that_draws_images() -> None:
    pairs, rng = images(2, 80), np.random.default_rng(0)
    counts = counted(pairs, first_tag=1)
    assert counts is not None
    by_image = counts.images[:, :, :CLASSES]
    draws = rng.multinomial(len(pairs), np.full(len(pairs), 1 / len(pairs)), 4000)
    truth, predicted, hit = np.moveaxis(np.einsum("rb,bck->rck", draws, by_image), 1, 0)
    expected = np.percentile((100 * hit / (truth + predicted - hit)).mean(1), [2.5, 97.5])
    found = intervals_of(pairs, 16).miou
    width = expected[1] - expected[0]
    assert width > 1
    np.testing.assert_allclose(found, expected, atol=0.12 * width)


def test_neither_order_nor_processes_change_anything() -> None:
    pairs = images(3, 30)
    first = intervals_of(pairs, 16)
    for other in (intervals_of(pairs[::-1], 7), intervals_of(pairs, 1)):
        assert np.array_equal(first.miou, other.miou) and np.array_equal(first.iou, other.iou, equal_nan=True)
    parts = [SplitCounts(CLASSES) for _ in range(3)]
    for rank, part in enumerate(parts):
        some = counted(pairs[rank::3], first_tag=1)
        assert some is not None
        part.update(some)
    summed = {name: sum(part.compute()[name] for part in parts) for name in parts[0].compute()}
    assert int(summed["total"]) == 30
    spread = scores_of_split(summed, table(CLASSES)).intervals  # type: ignore[arg-type]
    assert spread is not None and np.array_equal(spread.iou, first.iou, equal_nan=True)


def test_weights_are_those_of_poisson() -> None:
    weights = np.stack([weights_of(f"2007_{number:06d}") for number in range(400)])
    assert weights.shape == (400, REPLICATES)
    assert weights.mean() == pytest.approx(1, abs=0.01) and weights.var() == pytest.approx(1, abs=0.02)
    shares = np.bincount(weights.ravel(), minlength=4)[:4] / weights.size
    np.testing.assert_allclose(shares, np.exp(-1) / np.array([1, 1, 2, 6]), atol=0.003)
    assert abs(np.corrcoef(weights[0], weights[1])[0, 1]) < 0.15
    assert np.array_equal(weights_of("a"), weights_of("a")) and not np.array_equal(weights_of("a"), weights_of("b"))


def test_a_class_that_occurs_nowhere_has_no_interval() -> None:
    count, pairs = case(5)
    counts = SplitCounts(count + 1)
    some = counted([(f"{number}", *pair) for number, pair in enumerate(pairs)], first_tag=1)
    assert some is not None
    counts.update(some)
    found = scores_of_split(counts.compute(), table(count + 1)).intervals
    assert found is not None
    assert interval_json(found.iou[count]) is None and interval_json(found.miou) is not None
    nothing = Intervals.of(torch.zeros(REPLICATES, 3, 2).numpy())
    assert interval_json(nothing.miou) is None
