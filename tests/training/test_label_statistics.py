"""Statistics of the labels in metrics.csv: however labels are made, and over all processes."""

import pytest
import torch
from refreshing import statistics_of
from tiny import STEPS, TRAIN, Tiny
from torch import Tensor

from dhr.rebalancing.rebalancer import Relabelled
from dhr.rebalancing.seed import SeedStep
from dhr.rebalancing.statistics import LabelStatistics
from dhr.training.metrics import LABELS, LOSSES


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The statistics that are computed, (4,B) each."""
    kept, of = [], LabelStatistics.of

    def keep(labels: Relabelled, seed: SeedStep) -> LabelStatistics:
        found = of(labels, seed)
        kept.append(found.stacked())
        return found

    monkeypatch.setattr(LabelStatistics, "of", keep)
    return kept


def test_logged_steps_say_what_relabelling_did(tiny: Tiny, seen: list[Tensor]) -> None:
    """From the first epoch that learns pseudo masks, and in no step that is not logged."""
    words = ("wss=cam", "name=statistics", "trainer.log_every_n_steps=2")
    tiny.call("train", *words, "rebalancing=released")  # which transports and restores all that is tagged
    rows = statistics_of(tiny.run("statistics"))
    begin = TRAIN // 4
    assert [row["step"] for row in rows] == [step for step in range(begin, STEPS) if step % 2]
    assert len(seen) == len(rows)
    for row, values in zip(rows, seen, strict=True):
        expected = dict(zip(LABELS, values.nanmean(1).tolist(), strict=True))
        assert {key: row[key] for key in LABELS if key in row} == pytest.approx(
            {key: value for key, value in expected.items() if value == value}, rel=1e-5
        )
    assert all(any(row.get(key) for row in rows) for key in LABELS)
    assert not set(LOSSES) & set().union(*rows)


def test_a_step_of_several_batches_says_it_once(tiny: Tiny, seen: list[Tensor]) -> None:
    words = ("wss=cam", "name=accumulated", "trainer.accumulate_grad_batches=2", "dataset.rebalancing_start=0")
    tiny.call("train", *words, "dataset.max_epochs=1")
    rows = statistics_of(tiny.run("accumulated"))
    assert [row["step"] for row in rows] == [0, 1] and len(seen) == TRAIN // 4
    both = torch.cat(seen[:2], 1)
    assert rows[0]["train/label_disagreement"] == pytest.approx(float(both[2].mean()), rel=1e-5)


def test_a_round_says_it_of_all_its_images(tiny: Tiny, seen: list[Tensor]) -> None:
    words = ("wss=cam", "name=told", "refresh=round", "refresh.epochs=1", "dataset.rebalancing_start=0")
    tiny.call("train", *words, "dataset.max_epochs=1")
    (row,) = statistics_of(tiny.run("told"))
    assert row["step"] == 0 and len(seen) == TRAIN
    assert [row[key] for key in LABELS] == pytest.approx(torch.cat(seen, 1).nanmean(1).tolist(), rel=1e-4)


def test_plain_training_has_none(tiny: Tiny) -> None:
    tiny.call("train", "wss=cam", "name=no-statistics", "rebalancing=none", "dataset.max_epochs=1")
    assert statistics_of(tiny.run("no-statistics")) == []
