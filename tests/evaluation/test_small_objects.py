"""Scores of small objects: equal to slow loops, in every place where scores are made and read."""

import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_scores import Pair, case, table, tensors
from tiny import ROOT

from dhr.core.labels import IGNORE
from dhr.evaluation.scores import as_json, joint_histogram, joint_histogram_of, score_pairs
from dhr.evaluation.small import SmallObjects, SmallScores, small_of
from dhr.evaluation.tables import columns_of, score_table


def slow(pairs: list[Pair], label: int) -> dict[str, float]:
    """Scores of one class over the images in which it is small, pixel by pixel."""
    images = hit = missed = wrong = 0
    for prediction, truth in pairs:
        pixels = [(int(p), int(t)) for p, t in zip(prediction.flat, truth.flat, strict=True) if t != IGNORE]
        area = sum(t == label for _, t in pixels)
        if not 0 < area < 0.05 * len(pixels):
            continue
        images += 1
        hit += sum(p == label and t == label for p, t in pixels)
        missed += sum(p != label and t == label and p != IGNORE for p, t in pixels)
        wrong += sum(p == label and t != label for p, t in pixels)
    union = hit + missed + wrong
    if not union:
        return {"images": images, "iou": np.nan, "fpr": np.nan, "fnr": np.nan}
    return {"images": images, "iou": 100 * hit / union, "fpr": wrong / union, "fnr": missed / union}


@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("unlabelled", [False, True])
def test_random_cases(background: bool, unlabelled: bool) -> None:
    several = 0
    for seed in range(60):
        count, pairs = case(seed)
        if unlabelled:
            rng = np.random.default_rng(seed)
            pairs = [(np.where(rng.random(p.shape) < 0.2, IGNORE, p).astype(np.uint8), t) for p, t in pairs]
        names = table(count, background=background)
        _, _, counts = joint_histogram_of(pairs)
        by_pixels = sum(small_of(joint_histogram(p, t).numpy()) for p, t in tensors(pairs))
        assert np.array_equal(counts, by_pixels) and counts.dtype == np.int64
        scores, expected = SmallScores.of(torch.from_numpy(counts), names), [slow(pairs, k) for k in range(count)]
        for key in ("images", "iou", "fpr", "fnr"):
            np.testing.assert_allclose(getattr(scores, key), [each[key] for each in expected], atol=1e-9)
        for mean, key in (("miou", "iou"), ("mfpr", "fpr"), ("mfnr", "fnr")):
            known = [each[key] for each in expected[int(background) :] if not np.isnan(each[key])]
            several += len(known) > 1
            assert getattr(scores, mean) == pytest.approx(np.mean(known) if known else np.nan, nan_ok=True)
    assert several > 50  # the cases hold small objects


def test_the_limit_is_below_five_percent_of_what_counts() -> None:
    truth = np.zeros((1, 130), np.uint8)
    truth[0, 100:] = IGNORE
    for area, small in ((4, True), (5, False)):  # of the 100 that count
        truth[0, :100] = 0
        truth[0, :area] = 1
        scores = score_pairs(tensors([(truth, truth)]), table(2)).small
        assert scores is not None and scores.images.tolist() == [0, int(small)]
        assert scores.miou == 100 if small else np.isnan(scores.miou)


def test_counts_of_several_processes_add_up() -> None:
    _, pairs = case(7)
    parts = [joint_histogram_of([pair])[2] for pair in pairs]
    metric = SmallObjects()
    for part in parts:
        metric.update(torch.from_numpy(part))
    assert np.array_equal(metric.compute().numpy(), joint_histogram_of(pairs)[2])


def scored(small: bool) -> dict[str, Any]:
    truth = np.zeros((10, 10), np.uint8)
    truth[0, :3], truth[5:, 5:] = 1, 2
    prediction = np.where(truth == 1, 0, truth).astype(np.uint8)
    written = as_json(score_pairs(tensors([(prediction, truth)]), table(3)), table(3))
    kept = {key: value for key, value in written.items() if small or key != "small"}
    return json.loads(json.dumps(kept, allow_nan=False))


def test_a_score_file_has_them_and_may_be_older() -> None:
    new, old = scored(True), scored(False)
    assert (new["small"]["share"], new["small"]["miou"], new["small"]["mfnr"]) == (0.05, 0.0, 1.0)
    assert [each["images"] for each in new["small"]["classes"]] == [0, 1, 0]
    assert new["small"]["classes"][0] == {"name": "class 0", "images": 0, "iou": None, "fpr": None, "fnr": None}
    heads = [column.head for column in columns_of([("new", new), ("old", old)])]
    assert "small objects mIoU %" in heads and "small objects mFNR" in heads
    head, first, second, *_ = score_table([("new", new), ("old", old)]).splitlines()
    place = slice(head.index("small objects mIoU %"), head.index("images"))
    assert first[place].split() == ["0.0", "1.000"] and second[place].split() == ["-", "-"]
    assert not any("objects" in column.head for column in columns_of([("old", old)]))


@pytest.mark.parametrize("small", [True, False])
def test_the_table_of_an_ablation(tmp_path: Path, small: bool) -> None:
    for seed, with_small in ((1, True), (2, small)):
        run = tmp_path / f"try-dhr-seed{seed}"
        (run / "scores").mkdir(parents=True)
        (run / "scores" / "validation.json").write_text(json.dumps(scored(with_small)))
        (run / "run.json").write_text(json.dumps({"seconds": 9}))
    script = runpy.run_path(str(ROOT / "scripts" / "ablation_table.py"))
    head, row = script["table"](script["collect"](tmp_path, "try", "validation")).splitlines()
    assert "small objects mIoU %" in head and "small objects mFNR" in head
    assert ("1.000 +- 0.000" in row[head.index("small objects mFNR") :][:15]) == small
