"""Human masks are for scoring only: a data set without any is trained on, predicted and audited."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny import STEPS, Tiny

from dhr.core.errors import InputError
from dhr.dataset.classes import load_classes
from dhr.disk.atomic import read_json
from dhr.disk.layout import DataLayout
from dhr.disk.mask import write_mask
from dhr.disk.weights.state import read_checkpoint
from dhr.page.runs import read_curves

LEARNING = ("wss=cam", "uss=colour")
SAID = "no human masks, so the training is not validated"


@pytest.fixture
def there(tiny: Tiny, tmp_path: Path) -> Tiny:
    """A data set whose human masks can be taken away."""
    return tiny.copy(tmp_path)


def no_masks(layout: DataLayout, *, manifest: bool = True) -> None:
    for split in ("train", "validation"):
        shutil.rmtree(layout.split(split) / "mask")
        if not manifest:
            (layout.split(split) / "manifest.jsonl").unlink(missing_ok=True)


def empty_folders(layout: DataLayout) -> None:
    no_masks(layout)
    for split in ("train", "validation"):
        (layout.split(split) / "mask").mkdir()


WITHOUT: dict[str, tuple[Callable[[DataLayout], object], tuple[str, ...], bool]] = {
    "nobody drew any": (lambda layout: no_masks(layout, manifest=False), (), True),
    "taken away after prepare": (no_masks, ("rebalancing=none",), True),
    "empty folders": (empty_folders, ("rebalancing=none",), True),
    "no validation split": (lambda layout: shutil.rmtree(layout.split("validation")), ("rebalancing=none",), True),
    "not asked for": (no_masks, ("rebalancing=none", "trainer.limit_val_batches=0"), False),
    "not asked for, a mask is missing": (
        lambda layout: layout.mask("validation", "validation_00002").unlink(),
        ("rebalancing=none", "trainer.limit_val_batches=0"), False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WITHOUT)
def test_training_needs_no_truth(there: Tiny, caplog: pytest.LogCaptureFixture, case: str) -> None:
    damage, words, said = WITHOUT[case]
    damage(there.layout)
    with caplog.at_level(logging.INFO):
        there.call("train", "name=a", *LEARNING, *words)
    run = there.run("a")
    assert run.is_finished and read_checkpoint(run.last)["global_step"] == STEPS
    assert caplog.text.count(SAID) == said
    curves = read_curves(run.metrics)
    assert len(curves["train/loss"]) == STEPS and not any(name.startswith("validation/") for name in curves)


@pytest.fixture
def trained(there: Tiny) -> Tiny:
    """A run on data without a human mask."""
    no_masks(there.layout, manifest=False)
    there.call("train", "name=a", "rebalancing=none", *LEARNING)
    return there


def test_what_follows_a_training_without_truth(trained: Tiny) -> None:
    run, word = trained.run("a"), f"run={trained.run('a').root}"
    trained.call("predict", word, "crf=none")
    assert {path.stem for path in run.masks("validation").iterdir()} == {*trained.layout.ids("validation")}
    folder = trained.layout.split("validation") / "mask"
    with pytest.raises(InputError, match=f"{folder}: no human mask of split validation.*split=<name>"):
        trained.call("evaluate", word)
    trained.call("report", word)
    assert "The truth of split validation is not on this machine" in run.report.read_text(encoding="utf-8")
    trained.call("audit", "dataset=toy")
    found = read_json(trained.root / "outputs" / "toy" / "audit" / "audit.json")["findings"]
    assert {each["severity"] for each in found} == {"remark"}
    assert "mask: none at all" in {each["kind"] for each in found}


def test_some_missing_truth_is_refused_by_every_stage_that_scores(tiny: Tiny, there: Tiny) -> None:
    masks = tiny.layout.split("validation") / "mask"
    there.layout.mask("validation", "validation_00002").unlink()
    with pytest.raises(InputError, match=r"validation_00002\.png: this human mask is missing, 1 of 4 are; restore"):
        there.call("train", "name=a", *LEARNING)
    with pytest.raises(InputError, match=r"1 of 4 human masks are missing \(validation_00002\); restore them"):
        there.call("evaluate", f"masks={masks}", "dataset=toy")


def test_a_broken_mask_of_a_watched_image_is_refused_before_training_where_it_is_watched(there: Tiny) -> None:
    path = there.layout.mask("train", "train_00001")
    write_mask(path, np.ones((9, 8), np.uint8), load_classes("toy").palette)
    with pytest.raises(InputError, match=rf"{path}: size \(9, 8\): the image has .*restore the human mask"):
        there.call("train", "name=a", "rebalancing=none", *LEARNING)
    assert not (there.root / "outputs").exists()
    there.call("train", "name=a", "rebalancing=none", "trainer.limit_val_batches=0", *LEARNING)
    assert there.run("a").is_finished
