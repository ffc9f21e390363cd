"""EoMT as the second stage: recipe, a run that is stopped on the way, and the way from its masks to a score."""

import csv
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny import DATASET, ON_CPU, SIDE, STEPS, VALIDATION, Tiny

from dhr import train
from dhr.config.compose import compose
from dhr.config.parts import check_signatures
from dhr.core.errors import InputError
from dhr.decoder.eomt import Eomt
from dhr.disk.atomic import read_json
from dhr.disk.layout import RunFolder
from dhr.disk.mask import read_mask
from dhr.disk.weights.state import read_checkpoint
from dhr.runtime.signals import Stopped

SMALL = (
    *("backbone=vit_toy", "backbone.embed=24", "backbone.depth=4", "decoder=eomt_small", "decoder.queries=10"),
    *("decoder.criterion.points=128", "optimizer=eomt", "optimizer.head_warmup=1", "optimizer.backbone_warmup=2"),
    *("classifier=none", "rebalancing=none", "wss=cam", "trainer.gradient_clip_val=0.01"),
)


def test_the_published_recipe() -> None:
    cfg = compose("train", ["experiment=eomt"])
    check_signatures(cfg)
    chosen = ("dataset", "backbone", "decoder", "classifier", "rebalancing", "wss", "optimizer")
    assert [cfg.choices[group] for group in chosen] == ["voc", "dinov2_large", "eomt", "none", "none", "dhr", "eomt"]
    assert (cfg.optimizer.lr, cfg.optimizer.block_decay, cfg.optimizer.weight_decay) == (1e-4, 0.8, 0.05)
    assert (cfg.optimizer.head_warmup, cfg.optimizer.backbone_warmup, cfg.optimizer.power) == (500, 1000, 0.9)
    assert (cfg.trainer.gradient_clip_val, cfg.trainer.precision) == (0.01, "bf16-mixed")
    assert (cfg.dataset.crop_size, cfg.dataset.batch_size, cfg.trainer.max_epochs) == (512, 16, 31)
    assert (cfg.decoder.patch, cfg.decoder.queries, cfg.decoder.blocks) == (16, 100, 4)


def taught(there: Tiny, name: str) -> RunFolder:
    paths = [f"paths.data={there.root / 'data'}", f"paths.outputs={there.root / 'outputs'}"]
    words = [*paths, *DATASET, *ON_CPU, *SMALL, f"name={name}", "resume=auto"]
    train.main.run(compose("train", words))
    return there.run(name)


@pytest.fixture(scope="module")
def done(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> tuple[Tiny, list[tuple[float, int]]]:
    """A whole run, predicted, scored and reported, and what its decoder was told in each step."""
    there, told = tiny.copy(tmp_path_factory.mktemp("eomt")), []
    advance = Eomt.advance

    def heard(self: Eomt, share: float) -> None:
        advance(self, share)
        told.append((share, int(self.unmasked)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Eomt, "advance", heard)
        run = taught(there, "whole").root
    there.call("predict", f"run={run}", "scales=[1.0,0.5]", "crf=none")
    for verb in ("evaluate", "report"):
        there.call(verb, f"run={run}")
    return there, told


def test_the_masks_fade_with_the_share_of_the_training_that_is_done(done: tuple[Tiny, list[tuple[float, int]]]) -> None:
    there, told = done
    # The masks of three blocks are half gone after .26, .51 and .76 of a training.
    assert told == [(step / STEPS, sum(step / STEPS > half for half in (0.26, 0.51, 0.76))) for step in range(STEPS)]
    state = read_checkpoint(there.run("whole").last)["state_dict"]
    assert int(state["network.decoder.unmasked"]) == 3
    rows = [row for row in csv.DictReader(there.run("whole").metrics.open(newline="")) if row["train/loss"]]
    assert len(rows) == STEPS and all(0 < float(row["train/loss"]) < 200 for row in rows)
    assert {float(row["train/loss_classification"]) for row in rows} == {0.0}


def test_its_masks_are_predicted_scored_and_reported(done: tuple[Tiny, list[tuple[float, int]]]) -> None:
    run = done[0].run("whole")
    masks = [read_mask(path) for path in sorted(run.masks("validation").iterdir())]
    assert len(masks) == VALIDATION and all(mask.shape == (SIDE, SIDE) for mask in masks)
    scores = read_json(run.root / "scores" / "validation.json")
    assert (scores["images"], scores["missing"]) == (VALIDATION, 0)
    assert "eomt_small" in run.report.read_text()


def test_a_stopped_run_goes_on_as_the_whole_one(
    done: tuple[Tiny, list[tuple[float, int]]], at_step: Callable[[int], None]
) -> None:
    """Bit by bit, with masks drawn for a part of the queries in the steps around the stops."""
    there, told = done
    for stop, ends in ((2, 2), (1, 3), (2, 5)):  # the step that stops it, and steps that are done then
        at_step(stop)
        with pytest.raises(Stopped):
            taught(there, "stopped")
        state = read_checkpoint(there.run("stopped").last)
        assert state["global_step"] == ends
        assert int(state["state_dict"]["network.decoder.unmasked"]) == told[ends - 1][1]
    at_step(0)
    found, due = (read_checkpoint(each.last) for each in (taught(there, "stopped"), there.run("whole")))
    for key in ("state_dict", "current_model_state"):
        assert found[key].keys() == due[key].keys()
        assert [name for name, value in due[key].items() if not torch.equal(found[key][name], value)] == []
    assert_same(found["optimizer_states"], due["optimizer_states"])


def assert_same(found: Any, due: Any) -> None:
    if isinstance(due, torch.Tensor):
        assert torch.equal(found, due)
    elif isinstance(due, dict):
        assert found.keys() == due.keys()
        for key in due:
            assert_same(found[key], due[key])
    elif isinstance(due, list | tuple):
        for one, other in zip(found, due, strict=True):
            assert_same(one, other)
    else:
        assert found == due


def test_a_program_of_it_is_for_one_size(done: tuple[Tiny, list[tuple[float, int]]]) -> None:
    there, run = done[0], done[0].run("whole")
    with pytest.raises(InputError, match=r"size: null: backbone=vit_toy decoder=eomt_small .*try one size"):
        there.call("export", f"run={run.root}", "format=torch_export")
    there.call("export", f"run={run.root}", "format=torch_export", f"size=[{SIDE},{SIDE}]")
    assert (run.root / "export").is_dir()
