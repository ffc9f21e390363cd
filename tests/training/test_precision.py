"""Mixed precision: networks compute in bfloat16, labels and losses do not notice."""

import csv

import pytest
import torch
from crops import crop, stack
from tiny import STEPS, Tiny

from dhr.config.compose import compose
from dhr.config.parts import build
from dhr.core.errors import InputError
from dhr.core.losses import segmentation_loss, tag_loss
from dhr.core.sample import Batch, NetworkOutput
from dhr.crf.none import NoCrf
from dhr.dataset.classes import load_classes
from dhr.disk.weights.state import read_checkpoint
from dhr.stage.parts import build_backbone, build_network
from dhr.training.average import EmaAverage
from dhr.training.label_maker import Labeller, Student


def scenes() -> tuple[Batch, NetworkOutput]:
    return stack([crop(number) for number in range(6)])


def test_labels_are_made_in_full_precision() -> None:
    node = compose("train", ["rebalancing=dhr"]).rebalancing.rebalancer
    relabel = build(node, first_tag=1, crf=NoCrf())
    labeller = Labeller(Student(), relabel, EmaAverage(0.9), lambda batch: batch)
    batch, output = scenes()
    expected = relabel(batch, output).pseudo_mask
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(labeller(batch, output).pseudo_mask, expected)
        assert not torch.equal(relabel(batch, output).pseudo_mask, expected)  # what it is guarded against


def test_losses_are_computed_in_full_precision() -> None:
    batch, output = scenes()
    logits = torch.randn(len(batch.ids), 8, 24, 32, generator=torch.Generator().manual_seed(0)).bfloat16()
    cams = output.cams.bfloat16()
    for loss, half, full in (
        (segmentation_loss, (logits, batch.wss_mask), (logits.float(), batch.wss_mask)),
        (tag_loss, (cams, batch.valid, batch.tags), (cams.float(), batch.valid, batch.tags)),
    ):
        with torch.autocast("cpu", torch.bfloat16):
            value = loss(*half)
        assert value.dtype == torch.float32 and float(value) == float(loss(*full))


def test_a_run_in_mixed_precision(tiny: Tiny) -> None:
    curves = {}
    for precision in ("32-true", "bf16-mixed"):
        name = f"precision-{precision}"
        tiny.call("train", "wss=cam", "rebalancing=dhr", f"trainer.precision={precision}", f"name={name}")
        rows = list(csv.DictReader(tiny.run(name).metrics.open(newline="")))
        curves[precision] = [float(row["train/loss"]) for row in rows if row["train/loss"]]
    assert len(curves["bf16-mixed"]) == STEPS
    # The first step only: after it, what rounding does to the weights depends on the processor.
    assert curves["bf16-mixed"][0] == pytest.approx(curves["32-true"][0], rel=0.02)
    assert curves["bf16-mixed"] != curves["32-true"]
    state = read_checkpoint(tiny.run("precision-bf16-mixed").last)["state_dict"]
    assert {value.dtype for value in state.values()} <= {torch.float32, torch.int64}


def test_channels_last_changes_the_order_in_memory_alone(tiny: Tiny) -> None:
    # Dropout draws in the order of memory. Narrower networks are refused.
    words = ("wss=cam", "rebalancing=none", "decoder.dropout=[0,0,0]", "backbone.widths=[16,16,32,64]")
    losses, convolutions = [], []
    for number, asked in enumerate(("false", "true")):
        tiny.call("train", *words, f"channels_last={asked}", f"name=order{number}")
        rows = csv.DictReader(tiny.run(f"order{number}").metrics.open(newline=""))
        losses.append([float(row["train/loss"]) for row in rows if row["train/loss"]])
        state = read_checkpoint(tiny.run(f"order{number}").last)["current_model_state"]
        convolutions.append([each for each in state.values() if each.ndim == 4 and min(each.shape[1:]) > 1])
    # The first step only: convolutions of another order round differently, and how much depends on the processor.
    assert losses[0][0] == pytest.approx(losses[1][0], rel=1e-4)
    assert all(each.is_contiguous() for each in convolutions[0])
    assert all(each.is_contiguous(memory_format=torch.channels_last) for each in convolutions[1])
    assert len(convolutions[0]) == len(convolutions[1]) > 10


@pytest.mark.parametrize("command", ["train", "train_wss", f"predict weights={__file__}"])  # of a file that is there
def test_without_a_gpu_every_command_computes_with_channels_last(command: str) -> None:
    """Also the backbone alone, of which a tag classifier is made; not networks with strided 1x1 convolutions."""
    name, *words = command.split()
    for backbone, sound in (("efficientnet_lite0", True), ("resnet18", False)):
        cfg = compose(name, [f"backbone={backbone}", "backbone.weights=null", *words])
        last = sound and not torch.cuda.is_available()
        for network in (build_network(cfg, load_classes("toy")), build_backbone(cfg.backbone)):
            convolutions = [each for each in network.parameters() if each.ndim == 4 and min(each.shape[1:]) > 1]
            assert convolutions
            for each in convolutions:
                assert each.is_contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


@pytest.mark.skipif(torch.cuda.is_available(), reason="the convolutions of a GPU are sound")
def test_channels_last_are_refused_where_they_write_beyond_their_memory() -> None:
    words = ["channels_last=true", "backbone=resnet18", "backbone.weights=null"]
    with pytest.raises(InputError, match="channels_last: true.*of 8 channels.*use channels_last=false"):
        build_network(compose("train", [*words, "backbone.widths=[8,16,32,64]"]), load_classes("toy"))
    build_network(compose("train", [*words, "backbone.widths=[16,16,32,64]"]), load_classes("toy"))
