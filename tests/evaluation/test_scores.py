"""Scores: equal to ten lines of numpy and to the released evaluator, and nothing wrong is scored silently."""

import json
import math
import os
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import reference
import torch
from reference import IGNORE
from torch import Tensor

from dhr.core.errors import InputError
from dhr.dataset.classes import ClassTable, load_classes
from dhr.dataset.split import Split
from dhr.disk.layout import DataLayout
from dhr.disk.mask import write_mask
from dhr.evaluation.scores import JointHistogram, as_json, check_labels, joint_histogram, score_pairs, scores_of
from dhr.runtime.pools import cores
from dhr.stage.evaluate import Scored, chunks_counted

VOC = load_classes("voc")
Pair = tuple[np.ndarray, np.ndarray]


def table(count: int, *, background: bool = True) -> ClassTable:
    names = tuple(f"class {number}" for number in range(count))
    return ClassTable("some", names, background, tuple((n, n, n) for n in range(count)), None, {}, {})


def tensors(pairs: list[Pair]) -> list[tuple[Tensor, Tensor]]:
    return [(torch.from_numpy(prediction), torch.from_numpy(truth)) for prediction, truth in pairs]


def case(seed: int) -> tuple[int, list[Pair]]:
    """One to four images of other sizes; some classes are rare or missing, some truth is IGNORE."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 12))
    share = rng.dirichlet(np.full(count, 0.3))
    pairs = []
    for _ in range(rng.integers(1, 5)):
        size = tuple(rng.integers(1, 30, 2))
        truth = rng.choice(count, size, p=share).astype(np.uint8)
        wrong = rng.random(size) < rng.random()
        prediction = np.where(wrong, rng.choice(count, size), truth).astype(np.uint8)
        truth[rng.random(size) < 0.1] = IGNORE
        pairs.append((prediction, truth))
    return count, pairs


def test_three_hundred_random_cases() -> None:
    for seed in range(300):
        count, pairs = case(seed)
        scores, expected = score_pairs(tensors(pairs), table(count)), reference.scores(pairs, count)
        np.testing.assert_allclose(scores.iou, expected["iou"] * 100, atol=1e-9)
        np.testing.assert_allclose(scores.fpr, expected["fpr"], atol=1e-12)
        np.testing.assert_allclose(scores.fnr, expected["fnr"], atol=1e-12)
        if np.isfinite(expected["iou"]).any():
            assert scores.miou == pytest.approx(np.nanmean(expected["iou"]) * 100, abs=1e-9)
            assert scores.mfpr == pytest.approx(np.nanmean(expected["fpr"]), abs=1e-12)
            assert scores.mfnr == pytest.approx(np.nanmean(expected["fnr"]), abs=1e-12)
            np.testing.assert_allclose((scores.iou / 100 + scores.fpr + scores.fnr)[~np.isnan(scores.iou)], 1)


def test_the_released_evaluator(shared: Path) -> None:
    masks = np.load(shared / "golden" / "official_evaluation.npz")
    expected = json.loads((shared / "golden" / "official_evaluation.json").read_text())
    scores = score_pairs(tensors([(masks[f"pred_{n}"], masks[f"gt_{n}"]) for n in range(6)]), VOC)
    means = (scores.miou, scores.mfpr, scores.mfnr)
    assert means == pytest.approx([expected[key] for key in ("mIoU_percent", "mFPR", "mFNR")], abs=1e-6)
    for index, name in enumerate(VOC.names):
        one = expected["per_class"].get(name, {"IoU": math.nan, "FPR": math.nan, "FNR": math.nan})
        ours = (scores.iou[index] / 100, scores.fpr[index], scores.fnr[index])
        assert ours == pytest.approx((one["IoU"] / 100, one["FPR"], one["FNR"]), abs=1e-6, nan_ok=True), name


def test_counts_add_up_and_keep_their_order() -> None:
    _, pairs = case(3)
    histogram = JointHistogram()
    for prediction, truth in tensors(pairs):
        histogram.update(joint_histogram(prediction, truth))
    counts, holders = histogram.compute()
    assert counts.dtype == torch.int64
    assert int(counts.sum()) == sum(truth.size for _, truth in pairs)
    assert int(histogram.images) == len(pairs)
    for label in range(256):
        assert int(counts[label].sum()) == sum(int((truth == label).sum()) for _, truth in pairs)
        assert int(counts[:, label].sum()) == sum(int((prediction == label).sum()) for prediction, _ in pairs)
        assert int(holders[label]) == sum(bool((truth == label).any()) for _, truth in pairs)
    assert int(joint_histogram(torch.tensor([[7]]).byte(), torch.tensor([[9]]).byte())[9, 7]) == 1


def test_counts_of_a_whole_data_set_are_exact() -> None:
    histogram = JointHistogram()
    huge = torch.zeros(256, 256, dtype=torch.int64)
    huge[0, 0], huge[1, 0] = 2**25, 1  # more pixels than a float32 can count
    for _ in range(3):
        histogram.update(huge)
    assert scores_of(*histogram.compute(), table(2)).confusion.tolist() == [[3 * 2**25, 0], [3, 0]]


def test_a_class_that_occurs_nowhere_is_left_out_of_the_means() -> None:
    truth = np.array([[0, 0, 1, 1]], np.uint8)
    scores = score_pairs(tensors([(truth, truth)]), table(4))
    assert (scores.miou, scores.mfpr, scores.mfnr) == (100, 0, 0)
    assert np.isnan(scores.iou).tolist() == [False, False, True, True]
    written = as_json(scores, table(4), split="some")
    assert [one["iou"] for one in written["classes"]] == [100, 100, None, None]
    assert [one["truth_pixels"] for one in written["classes"]] == [2, 2, 0, 0]
    assert written["split"] == "some"
    assert written["measured"] == "here"
    assert written["confusion"] == [[2, 0, 0, 0], [0, 2, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    json.dumps(written, allow_nan=False)


def test_a_class_that_is_only_predicted_counts_as_zero() -> None:
    truth, prediction = np.zeros((1, 4), np.uint8), np.array([[0, 0, 0, 2]], np.uint8)
    scores = score_pairs(tensors([(prediction, truth)]), table(3))
    np.testing.assert_allclose(scores.iou, [75, np.nan, 0])
    np.testing.assert_allclose(scores.fpr, [0, np.nan, 1])
    assert scores.miou == 37.5


def test_no_scored_pixel_at_all() -> None:
    ignored = np.full((2, 2), IGNORE, np.uint8)
    scores = score_pairs(tensors([(np.zeros((2, 2), np.uint8), ignored)]), table(2))
    assert np.isnan([scores.miou, scores.mfpr, scores.mfnr, scores.small_mfnr]).all()
    assert as_json(scores, table(2))["miou"] is None


@pytest.mark.parametrize("background", [True, False])
def test_small_classes_are_those_below_the_median_area(background: bool) -> None:
    truth = np.repeat(np.array([0, 1, 2, 3], np.uint8), [40, 6, 10, 20])[None]
    other = np.repeat(np.array([0, 1], np.uint8), [60, 6])[None]
    prediction = truth.copy()
    prediction[truth == 1] = 0
    prediction[0, np.flatnonzero(truth == 2)[:5]] = 0
    scores = score_pairs(tensors([(prediction, truth), (other, other)]), table(4, background=background))
    # With background the classes 1, 2, 3 have areas 6, 10, 20; without, 0 with its 50 joins them.
    assert scores.small_mfnr == pytest.approx(0.5 if background else (0.5 + 0.5) / 2)
    assert np.isnan(score_pairs(tensors([(other, other)]), table(2)).small_mfnr)
    alike = np.repeat(np.array([1, 2], np.uint8), 5)[None]
    assert np.isnan(score_pairs(tensors([(alike, alike)]), table(3)).small_mfnr)


@pytest.mark.parametrize("label", [21, 25, 254, IGNORE])
def test_a_prediction_out_of_range_is_refused_by_name(label: int) -> None:
    truth, prediction = torch.zeros(3, 4, dtype=torch.uint8), torch.zeros(3, 4, dtype=torch.uint8)
    prediction[1, 2], prediction[0, 1] = label, label
    message = rf"2007_000033: the prediction has label {label} on 2 scored pixels; allowed are 0 to 20"
    with pytest.raises(InputError, match=message):
        check_labels(joint_histogram(prediction, truth).numpy(), 21, "2007_000033")


@pytest.mark.parametrize("label", [21, 254])
def test_a_truth_out_of_range_is_refused_by_name(label: int) -> None:
    truth, prediction = torch.full((3, 4), 20, dtype=torch.uint8), torch.zeros(3, 4, dtype=torch.uint8)
    truth[1, 2] = label
    with pytest.raises(InputError, match=rf"2007_000033: the truth has label {label}; allowed are 0 to 20 and 255"):
        check_labels(joint_histogram(prediction, truth).numpy(), 21, "2007_000033")


def test_predictions_where_the_truth_is_ignored_may_be_anything() -> None:
    truth, prediction = torch.full((3, 4), IGNORE, dtype=torch.uint8), torch.full((3, 4), 77, dtype=torch.uint8)
    truth[0, 0], prediction[0, 0] = 20, 20
    check_labels(joint_histogram(prediction, truth).numpy(), 21, "some")
    assert score_pairs([(prediction, truth)], VOC).miou == 100


def test_what_is_counted_does_not_pile_up(tmp_path: Path) -> None:
    layout, predictions, count = DataLayout(tmp_path, "VOC2012"), tmp_path / "masks", 1600
    first = layout.mask("train", "0000")
    write_mask(first, np.ones((3, 4), np.uint8), VOC.palette)
    for folder in (layout.image("train", "0000").parent, predictions):
        folder.mkdir()
    for number in range(count):
        image_id = f"{number:04}"
        for path in (layout.image("train", image_id), predictions / f"{image_id}.png", layout.mask("train", image_id))[
            : 3 if number else 2
        ]:
            os.link(first, path)
    split = Split.open(layout, "train", VOC)
    tracemalloc.start()
    try:
        counts = chunks_counted(Scored(split, predictions), [split.id(position) for position in range(count)])
        some, images = next(counts)
        assert some is not None
        pairs = some.pairs
        time.sleep(1)  # whoever adds them up is slower than they come
        for more, others in counts:
            assert more is not None
            pairs, images = pairs + more.pairs, images + others
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (int(pairs[1, 1]), int(pairs.sum()), images) == (12 * count, 12 * count, count)
    assert peak < (5 * cores() + 8) * pairs.nbytes  # all of them are a hundred
