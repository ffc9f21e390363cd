"""The optimizer that EoMT is published with: rates of the blocks, two warm-ups, and every weight once."""

from functools import partial

import pytest
import torch
from torch import nn

from dhr.backbone.resnet import ResNet
from dhr.backbone.vit import Vit
from dhr.core.errors import InputError
from dhr.training.layer_decay import LayerDecayAdam

NAMES = ("vit_small_patch14_reg4_dinov2.lvd142m", "vit_small_patch16_dinov3.lvd1689m")
small = partial(Vit, embed=24, depth=4, heads=3)


def published_rate(name: str, depth: int, decayed: int) -> float:
    """By the name of a weight: norm and last block 1e-4, .8 of it a block earlier, the embedding as block 0."""
    if name.startswith("norm."):
        return 1e-4
    block = int(name.split(".")[1]) if name.startswith("blocks.") else 0
    return 1e-4 if name.startswith("blocks.") and block >= decayed else 1e-4 * 0.8 ** (depth - 1 - block)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("full", [0, 2])
def test_the_deeper_a_block_the_faster_it_learns(name: str, full: int) -> None:
    backbone, head = small(name), nn.Linear(24, 2)
    optimizer, _ = LayerDecayAdam(full_blocks=full, head_warmup=0, backbone_warmup=0).build(backbone, (head,), steps=4)
    rates = {id(weight): group["lr"] for group in optimizer.param_groups for weight in group["params"]}
    held = [id(weight) for group in optimizer.param_groups for weight in group["params"]]
    assert sorted(held) == sorted(id(weight) for weight in (*backbone.parameters(), *head.parameters()))
    for weight_name, weight in backbone.layers.named_parameters():
        assert rates[id(weight)] == pytest.approx(published_rate(weight_name, 4, 4 - full)), weight_name
    assert [group["lr"] for group in optimizer.param_groups][-1] == 1e-4 == rates[id(head.weight)]
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.05}


def published_share(step: int, steps: int, first: int, second: int, *, of_head: bool) -> float:
    if of_head:
        return step / first if step < first else (1 - (step - first) / (steps - first)) ** 0.9
    if step < first:
        return 0.0
    if step < first + second:
        return (step - first) / second
    return (1 - (step - first - second) / (steps - first - second)) ** 0.9


def test_heads_warm_up_before_the_backbone() -> None:
    backbone, head = small(NAMES[0]), nn.Linear(24, 2)
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    optimizer, schedule = LayerDecayAdam(head_warmup=3, backbone_warmup=5).build(backbone, (head,), steps=20)
    for step in range(20):
        for block, rate in enumerate(schedule.get_last_lr()):
            share = published_share(step, 20, 3, 5, of_head=block == 4)
            assert rate == pytest.approx(1e-4 * 0.8 ** max(3 - block, 0) * share)
        sum(weight.sum() for weight in (*backbone.parameters(), *head.parameters())).backward()
        optimizer.step()
        schedule.step()
        if step == 3:  # the fourth step is the first one behind the rest, and its rate is still 0
            assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())
    assert schedule.get_last_lr() == [0.0] * 5
    assert not any(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())


def test_it_goes_on_where_it_stopped() -> None:
    recipe, head = LayerDecayAdam(head_warmup=2, backbone_warmup=2), nn.Linear(24, 2)
    _, whole = recipe.build(small(NAMES[0]), (head,), steps=9)
    _, second = recipe.build(small(NAMES[0]), (head,), steps=9)
    for schedule in (whole, second):
        schedule.optimizer.step()
    for _ in range(5):
        whole.step()
    second.load_state_dict(whole.state_dict())
    for schedule in (whole, second):
        schedule.step()
    assert second.get_last_lr() == whole.get_last_lr()


def test_a_run_that_ends_in_the_warm_up() -> None:
    optimizer, schedule = LayerDecayAdam().build(small(NAMES[0]), (nn.Linear(24, 2),), steps=10)
    for _ in range(10):
        optimizer.step()
        schedule.step()
    assert schedule.get_last_lr() == [*[0.0] * 4, pytest.approx(1e-4 * 10 / 500)]


def test_a_backbone_without_blocks_is_refused() -> None:
    with pytest.raises(InputError, match=r"optimizer: ResNet has no blocks.*backbone=dinov2_large.*optimizer=mask2"):
        LayerDecayAdam().build(ResNet("resnet18", widths=(8, 8, 8, 8)), (nn.Linear(8, 2),), steps=4)
