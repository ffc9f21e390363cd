"""A run folder that was made before the rooms of the package moved is still a run."""

import json
import logging
import shutil
from pathlib import Path

import pytest
from report_pages import read
from tiny import DATASET, Tiny

from dhr.disk.layout import RunFolder
from dhr.disk.mask import read_mask

STORED = Path(__file__).resolve().parents[1] / "runs" / "before_floors.zip"


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tiny, RunFolder]:
    """The stored run among the outputs, and the data that it learnt from, drawn anew."""
    there = Tiny(tmp_path_factory.mktemp("old"))
    there.call("prepare", "dataset=toy", *DATASET)
    run = there.run("before_floors")
    shutil.unpack_archive(STORED, run.root.parent)
    return there, run


def test_its_masks_are_those_of_today(old: tuple[Tiny, RunFolder], caplog: pytest.LogCaptureFixture) -> None:
    there, run = old
    masks = {path.name: read_mask(path) for path in sorted(run.masks("validation").glob("*.png"))}
    with caplog.at_level(logging.INFO):
        there.call("predict", f"run={run.root}", "split=validation", "crf.workers=0")
    assert "0 made, 4 were there" in caplog.text
    there.call("predict", f"run={run.root}", "split=validation", "crf.workers=0", "overwrite=true")
    for name, mask in masks.items():
        assert (read_mask(run.masks("validation") / name) == mask).mean() > 0.99, name


def test_its_scores_are_those_of_today(old: tuple[Tiny, RunFolder]) -> None:
    there, run = old
    path = run.scores("validation")
    before = json.loads(path.read_text())
    there.call("evaluate", f"run={run.root}", "split=validation")
    after = json.loads(path.read_text())
    assert after["miou"] == pytest.approx(before["miou"], abs=1) and after["images"] == before["images"] == 4


def test_its_report_can_be_written(old: tuple[Tiny, RunFolder]) -> None:
    there, run = old
    there.call("report", f"run={run.root}")
    page = read(run.report).text
    assert "before_floors" in page and "validation_00000" in page  # the data lie elsewhere than when it was trained


def test_it_is_finished(old: tuple[Tiny, RunFolder], caplog: pytest.LogCaptureFixture) -> None:
    there, _ = old
    words = ("backbone.widths=[4,8,8,8]", "decoder.channels=8", "decoder.low_level_channels=4", "crf.workers=0")
    changed = [word for word in DATASET if not word.startswith("dataset.max_epochs")] + ["dataset.max_epochs=80"]
    with caplog.at_level(logging.INFO):
        there.call(
            "train", "dataset=toy", "wss=simulated", *changed, *words, "trainer.accelerator=cpu",
            "trainer.log_every_n_steps=40", "+trainer.check_val_every_n_epoch=40", "name=before_floors", "resume=auto",
        )  # fmt: skip
    assert "finished already" in caplog.text
