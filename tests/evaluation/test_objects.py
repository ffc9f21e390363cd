"""Recall of objects by size: equal to flood fill, class by class."""

from collections.abc import Iterator

import numpy as np
import pytest
from scipy.ndimage import label
from test_boundary import blocks
from test_scores import Pair, case

from dhr.core.labels import IGNORE
from dhr.evaluation.counts import counted
from dhr.evaluation.objects import BELOW, recalls


def objects(prediction: np.ndarray, truth: np.ndarray, first_tag: int) -> Iterator[tuple[int, int]]:
    """Pixels of each object, and how many of them are right."""
    for tag in sorted({*truth.ravel().tolist()} - {*range(first_tag), IGNORE}):
        parts, number = label(truth == tag, np.ones((3, 3)))
        for part in range(1, number + 1):
            yield int((parts == part).sum()), int((prediction[parts == part] == tag).sum())


def slow(pairs: list[Pair], first_tag: int) -> list[list[int]]:
    """Objects, pixels, pixels hit and objects found below each size."""
    rows = [[0, 0, 0, 0] for _ in BELOW]
    for prediction, truth in pairs:
        for pixels, hit in objects(prediction, truth, first_tag):
            for row in rows[sum(pixels / truth.size >= below for below in BELOW) :]:
                row[:] = [row[0] + 1, row[1] + pixels, row[2] + hit, row[3] + (2 * hit >= pixels)]
    return rows


def counts_of(pairs: list[Pair], first_tag: int) -> list[list[int]]:
    found = counted([(f"{number}", *pair) for number, pair in enumerate(pairs)], first_tag=first_tag)
    assert found is not None
    counts: list[list[int]] = found.objects.tolist()
    return counts


@pytest.mark.parametrize("first_tag", [0, 1])
@pytest.mark.parametrize("kind", [lambda seed: case(seed)[1], blocks], ids=["noise", "regions"])
def test_parts_are_those_of_a_flood_fill(kind: object, first_tag: int) -> None:
    seen = 0
    for seed in range(40):
        pairs = kind(seed)  # type: ignore[operator]
        expected = slow(pairs, first_tag)
        assert counts_of(pairs, first_tag) == expected, seed
        seen += expected[1][0]
    assert seen > 20  # the cases hold small objects


def test_by_hand() -> None:
    truth = np.zeros((20, 20), np.uint8)
    truth[0, 0] = truth[1, 1] = truth[2, 0] = 1  # one object of 3 pixels: corners touch
    truth[10, 5:15] = 1  # of 10 pixels, one class, parted by what is ignored: 4 and 5
    truth[10, 9] = IGNORE
    truth[15:, :] = 2  # of 100 pixels: a quarter of the image
    prediction = truth.copy()
    prediction[10, 5:7] = 0  # half of 4 is there: found
    prediction[10, 10:13] = 2  # 2 of 5 is not
    counts = counts_of([(prediction, truth)], 1)
    assert counts == [[1, 3, 3, 1], [3, 12, 7, 2]]  # below 4 pixels, and below 20
    assert recalls(np.array(counts))[1] == {
        "below": 0.05, "objects": 3, "recall": pytest.approx(7 / 12), "found": pytest.approx(2 / 3)
    }  # fmt: skip


def test_objects_do_not_reach_into_the_next_row_or_image() -> None:
    first, second = np.zeros((3, 63), np.uint8), np.zeros((3, 63), np.uint8)
    first[0, -1] = first[1, 0] = first[2, -1] = second[0, 0] = 1  # a frame of one column lies between
    assert counts_of([(first, first), (second, second)], 1)[0][0] == 4


def test_no_object_has_no_recall() -> None:
    truth = np.zeros((4, 4), np.uint8)
    assert recalls(np.array(counts_of([(truth, truth)], 1)))[0] == {
        "below": 0.01, "objects": 0, "recall": None, "found": None
    }  # fmt: skip
