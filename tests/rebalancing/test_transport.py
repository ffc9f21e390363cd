"""f_OT: equal to scalar loops and to POT, the marginals are met, and every edge case is finite."""

import numpy as np
import ot
import pytest
import reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from dhr.rebalancing.released import FLOOR, STOP, ReleasedTransport
from dhr.rebalancing.transport import Transport, log_sinkhorn

SIZE = (5, 6)
CONVERGED = Transport(iterations=2000)


def rough(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def smooth(images: int, classes: int, size: tuple[int, int] = (24, 24)) -> Tensor:
    """Blobs that span [0,1], as heat maps do."""
    maps = functional.interpolate(rough(images, classes, 5, 5, seed=1), size, mode="bicubic")
    low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    return (maps - low) / (high - low)


def everywhere(scores: Tensor) -> tuple[Tensor, Tensor]:
    """All cells valid, all classes present."""
    images, classes, *size = scores.shape
    return torch.ones(images, 1, *size, dtype=torch.bool), torch.ones(images, classes, dtype=torch.bool)


def mixed() -> tuple[Tensor, Tensor, Tensor]:
    """Images that differ in valid cells and in classes, with empty slots between the others."""
    scores, valid = rough(4, 4, *SIZE), torch.ones(4, 1, *SIZE, dtype=torch.bool)
    valid[1, :, 3:] = False
    valid[2, :, :, :2] = False
    present = torch.tensor([[1, 1, 1, 1], [1, 0, 1, 1], [0, 1, 0, 1], [0, 0, 1, 0]]) > 0
    return scores, valid, present


@pytest.mark.parametrize("mass", [None, [[1.0, 2, 3, 4]] * 3 + [[1.0, 1, 5, 1]]])
def test_equals_the_loop(mass: list[list[float]] | None) -> None:
    scores, valid, present = mixed()
    weights = None if mass is None else torch.tensor(mass)
    result = Transport()(scores, valid, present, weights)
    assert bool((result[~present] == 0).all())
    for image, (on, classes) in enumerate(zip(valid[:, 0].numpy(), present, strict=True)):
        heavy = None if weights is None else weights[image][classes].tolist()
        expected = reference.transport(scores[image][classes].double().numpy(), on, heavy)
        np.testing.assert_allclose(result[image][classes].numpy(), expected, atol=2e-5)


@pytest.mark.parametrize("mass", [(1.0, 1.0, 1.0, 1.0), (0.1, 0.2, 0.3, 0.4), (0.96, 0.01, 0.01, 0.02)])
def test_the_plan_is_the_one_of_pot(mass: tuple[float, ...]) -> None:
    scores, share = rough(1, 4, *SIZE).double(), np.array(mass) / sum(mass)
    plan = CONVERGED.log_plan(scores, *everywhere(scores), torch.tensor([mass]).double())[0].exp()
    cost, cells = 1 - scores.flatten(2)[0].numpy(), np.full(30, 1 / 30)
    expected = ot.sinkhorn(share, cells, cost, 0.1, method="sinkhorn_log", stopThr=1e-13, numItermax=20000)
    np.testing.assert_allclose(plan.numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("scores", [smooth(20, 2), smooth(20, 3), smooth(20, 6), rough(20, 4, 24, 24)])
def test_the_marginals_are_met(scores: Tensor) -> None:
    plan = Transport().log_plan(scores, *everywhere(scores)).exp()
    images, classes, cells = plan.shape
    torch.testing.assert_close(plan.sum(2), torch.full((images, classes), 1 / classes), rtol=1e-4, atol=0)
    torch.testing.assert_close(plan.sum(1), torch.full((images, cells), 1 / cells), rtol=1e-2, atol=0)


def test_binary_maps_need_more_iterations() -> None:
    label = torch.arange(400).view(1, 20, 20) >= 220
    scores = torch.stack([~label, label], 1).float()
    error = {}
    for iterations in (20, 300):
        plan = Transport(iterations=iterations).log_plan(scores, *everywhere(scores)).exp()
        error[iterations] = float((plan.sum(1) * 400 - 1).abs().max())
    assert error[300] < 1e-2 < error[20]


@pytest.mark.parametrize("classes", [2, 3, 6])
def test_binary_maps_are_nearly_converged(classes: int) -> None:
    """The error that the docstring says."""
    maps = smooth(12, classes, (32, 32))
    binary = (maps == maps.amax(1, keepdim=True)).float()
    converged = CONVERGED(binary.double(), *everywhere(binary)).float()
    worst = {count: float((Transport(iterations=count)(binary, *everywhere(binary)) - converged).abs().max())
             for count in (20, 100, 1000)}  # fmt: skip
    assert worst[20] < 0.12 and worst[100] < 0.01 and worst[1000] < 1e-5, worst


def test_equal_mass_brings_the_minor_class_back() -> None:
    scores = torch.zeros(1, 2, 10, 10)
    scores[0, 0], scores[0, 1] = 0.8, 0.3
    scores[0, 1, :2, :3] = 0.5  # the minor class leads nowhere
    moved = scores * Transport()(scores, *everywhere(scores))
    won = moved.argmax(1)[0] == 1
    assert bool((scores.argmax(1) == 0).all())
    assert won[:2, :3].all()
    assert won.sum() == 6


def test_mass_decides_how_many_cells_a_class_gets() -> None:
    scores = rough(1, 2, 20, 20)
    shares = []
    for mass in (0.1, 0.5, 0.9):
        plan = Transport().log_plan(scores, *everywhere(scores), torch.tensor([[mass, 1 - mass]])).exp()[0]
        shares.append(float(plan[0].sum()))
        assert float((plan[0] > plan[1]).float().mean()) == pytest.approx(mass, abs=0.05)
    assert shares == pytest.approx([0.1, 0.5, 0.9], abs=1e-4)


def test_a_batch_equals_one_by_one() -> None:
    scores, valid, present = mixed()
    mass = rough(4, 4, seed=3) + 0.1
    together = Transport()(scores, valid, present, mass)
    for image in range(4):
        one = slice(image, image + 1)
        alone = Transport()(scores[one], valid[one], present[one], mass[one])
        torch.testing.assert_close(together[one], alone)
        # Without its empty slots, too.
        classes = present[image]
        compact = Transport()(scores[one][:, classes], valid[one], present[one][:, classes], mass[one][:, classes])
        torch.testing.assert_close(together[one][:, classes], compact)


def test_scores_off_the_cells_and_of_absent_classes_do_not_matter() -> None:
    scores, valid, present = mixed()
    spoiled = torch.where(valid & present[:, :, None, None], scores, 1.0)
    torch.testing.assert_close(Transport()(spoiled, valid, present), Transport()(scores, valid, present))


def test_one_class_is_one_on_its_cells() -> None:
    scores, valid, present = mixed()
    result = Transport()(scores, valid, present)[3]
    assert torch.equal(result[2], valid[3, 0].float())
    assert result[[0, 1, 3]].sum() == 0


@pytest.mark.parametrize("value", [0.0, 0.4, 1.0])
def test_constant_maps_have_no_preference(value: float) -> None:
    scores = torch.full((1, 3, *SIZE), value)
    torch.testing.assert_close(Transport()(scores, *everywhere(scores)), torch.ones_like(scores))


@pytest.mark.parametrize("classes", [2, 3, 7, 20])
@pytest.mark.parametrize("side", [8, 32, 64])
def test_equal_maps_have_no_preference(side: int, classes: int) -> None:
    """What is left of a plan that is constant in theory is rounding, and is not blown up to [0,1]."""
    scores = smooth(1, 1, (side, side)).expand(1, classes, side, side)
    torch.testing.assert_close(Transport()(scores, *everywhere(scores)), torch.ones_like(scores))
    together = torch.ones(1, classes, classes, dtype=torch.bool)
    torch.testing.assert_close(Transport().within(scores, everywhere(scores)[0], together), torch.ones_like(scores))


def test_one_cell() -> None:
    scores = rough(1, 3, 1, 1)
    assert Transport()(scores, *everywhere(scores)).flatten().tolist() == [1, 1, 1]


@pytest.mark.parametrize("empty", ["cells", "classes", "both"])
def test_an_image_without_cells_or_classes_is_zero(empty: str) -> None:
    scores, valid, present = mixed()
    if empty != "classes":
        valid[1] = False
    if empty != "cells":
        present[1] = False
    result = Transport()(scores, valid, present)
    assert bool((result[1] == 0).all())
    assert bool((Transport().log_plan(scores, valid, present)[1] == -torch.inf).all())
    others = [0, 2, 3]
    torch.testing.assert_close(result[others], Transport()(scores[others], valid[others], present[others]))


def test_half_precision_scores() -> None:
    scores, valid, present = mixed()
    half = Transport()(scores.half(), valid, present).float()
    assert bool(torch.isfinite(half).all())
    torch.testing.assert_close(half, Transport()(scores, valid, present), atol=5e-2, rtol=0)


def test_far_apart_scores_do_not_underflow() -> None:
    scores = torch.tensor([[[[1.0, 0.0]], [[1.0, 0.0]]]])
    result = Transport(epsilon=1e-3)(scores, *everywhere(scores))
    assert bool(torch.isfinite(result).all())


def test_no_mass_where_a_marginal_is_zero() -> None:
    plan = log_sinkhorn(rough(1, 3, 8), torch.full((1, 8), 1 / 8).log(), torch.tensor([[0.25, 0.0, 0.75]]).log(), 50)
    assert bool((plan[0, 1] == -torch.inf).all())
    torch.testing.assert_close(plan.exp().sum(2), torch.tensor([[0.25, 0.0, 0.75]]))
    torch.testing.assert_close(plan.exp().sum(1), torch.full((1, 8), 1 / 8))


def released_plan(scores: np.ndarray) -> np.ndarray:
    """Sinkhorn as released: it stops on the mean change of the cells' scaling, which is small from the start."""
    kernel, (count, size) = np.exp((scores - 1) / 0.1), scores.shape
    by_cell, by_class = np.ones(size), np.ones(count)
    for _ in range(100):
        before, by_cell = by_cell, 1 / size / (by_class @ kernel)
        by_class = 1 / count / (kernel @ by_cell)
        if np.abs(by_cell - before).mean() < STOP:
            break
    return by_class[:, None] * kernel * by_cell


def test_the_released_arithmetic() -> None:
    scores, valid, present = mixed()
    result = ReleasedTransport()(scores, valid, present, rough(4, 4))
    for image in range(3):
        on = valid[image, 0]
        plan = released_plan(scores[image][present[image]][:, on].double().numpy())
        low, high = plan.min(1, keepdims=True), plan.max(1, keepdims=True)
        expected = ((plan - low) / (high - low).clip(min=FLOOR)).flatten()
        np.testing.assert_allclose(result[image][present[image]][:, on].flatten().numpy(), expected, atol=1e-4)
        assert result[image][present[image]].amax((1, 2)).tolist() == [1.0] * int(present[image].sum())
    assert torch.equal(result[3, 2], valid[3, 0].float())
    assert result.isfinite().all()


def test_the_released_stop_rule_misses_the_marginals() -> None:
    scores = smooth(1, 3, (40, 40))
    plan = ReleasedTransport().plan(scores[0].flatten(1))
    assert float((plan.sum(0) * 1600 - 1).abs().max()) > 0.1


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    group_of=st.lists(st.integers(0, 2), min_size=1, max_size=6),
    absent=st.sets(st.integers(0, 5)),
)
def test_groups_at_once_equal_groups_one_by_one(seed: int, group_of: list[int], absent: set[int]) -> None:
    count = len(group_of)
    scores = torch.rand(1, count, 5, 7, generator=torch.Generator().manual_seed(seed))
    valid = torch.ones(1, 1, 5, 7, dtype=torch.bool)
    valid[..., :2, :] = seed % 2 == 0
    numbers = torch.tensor([number if slot not in absent else 9 + slot for slot, number in enumerate(group_of)])
    present = numbers < 9
    together = (numbers[:, None] == numbers)[None] & present[:, None] & present
    moved = Transport().within(scores, valid, together)
    for slot in range(count):
        group = together[:, slot]
        expected = Transport()(scores, valid, group)[:, slot] if int(group.sum()) >= 2 else valid[:, 0].float()
        torch.testing.assert_close(moved[:, slot], expected, atol=2e-5, rtol=0)
