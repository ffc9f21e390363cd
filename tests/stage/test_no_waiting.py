"""A step never asks the device for a number: nothing in it has a size or a branch that depends on values."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from crops import crop, stack
from torch.utils._python_dispatch import TorchDispatchMode

from dhr.config.compose import compose
from dhr.config.parts import build
from dhr.core.colour import jitter
from dhr.core.losses import segmentation_loss, tag_loss
from dhr.core.sample import Batch, NetworkOutput
from dhr.crf.none import NoField
from dhr.rebalancing.rebalancer import Rebalancer

WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "item", "equal.default", "is_nonzero")
OPTIONS = ("dhr", "paper", "softened", "answer", "overwrite", "no_seed", "no_inter_class", "no_intra_class")


class NoWaiting(TorchDispatchMode):
    """Refuses every operation whose result the host has to wait for."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func)
        waits = any(word in name for word in WAITING)
        # An index of booleans is turned into positions, whose number has to be known.
        waits |= "aten.index" in name and any(getattr(each, "dtype", None) == torch.bool for each in _indices(args))
        assert not waits, f"{name} waits for the device"
        return func(*args, **(kwargs or {}))


def _indices(args: Any) -> list[Any]:
    return list(args[1]) if len(args) > 1 and isinstance(args[1], list | tuple) else []


class PlainCrf:
    """A field without pairwise terms that does not look at what it is given."""

    def on(self, pixels: torch.Tensor, valid: torch.Tensor) -> "PlainField":
        return PlainField(valid)


class PlainField(NoField):
    """Soft-max instead of the check and the division of NoField."""

    def __call__(self, probabilities: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        on = self.valid[:, None] & present[:, :, None, None]
        return probabilities.masked_fill(~on, -1e4).softmax(1) * on


def inputs() -> tuple[Batch, NetworkOutput]:
    return stack([crop(number) for number in range(6)])


@pytest.mark.parametrize("option", OPTIONS)
def test_relabelling(option: str) -> None:
    cfg = compose("train", [f"rebalancing={option}"])
    rebalancer: Rebalancer = build(cfg.rebalancing.rebalancer, first_tag=1, crf=PlainCrf())
    batch, output = inputs()
    with NoWaiting():
        labels = rebalancer(batch, output)
    assert torch.equal(labels.pseudo_mask, rebalancer(batch, output).pseudo_mask)


def test_losses() -> None:
    batch, output = inputs()
    logits = torch.rand(len(batch.ids), 1 + batch.tags.shape[1], 4, 5)
    with NoWaiting():
        loss = segmentation_loss(logits, batch.wss_mask) + tag_loss(output.cams, batch.valid, batch.tags)
    assert bool(torch.isfinite(loss))


@pytest.mark.parametrize("hue", [False, True])
def test_colours(hue: bool) -> None:
    batch, _ = inputs()
    numbers = torch.tensor([[0.8, 1.2, 0.7, 0.1, 2, 0, 1]]).repeat(len(batch.ids), 1)
    with NoWaiting():
        pixels = jitter(batch.pixels, batch.valid, numbers, hue=hue)
        image = replace(batch, pixels=pixels).image
    assert bool(torch.isfinite(image).all()) and not torch.equal(pixels, batch.pixels)


def test_the_guard_itself() -> None:
    values = torch.tensor([1.0, 2.0])
    for wait in (
        lambda: bool(values.any()),
        lambda: values[values > 1],
        values.nonzero,
        values.unique,
        values.sum().item,
    ):
        with pytest.raises(AssertionError, match="waits for the device"), NoWaiting():
            wait()
