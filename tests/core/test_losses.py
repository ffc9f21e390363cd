"""The two losses against loops, what is learnt in which epoch, and the learning rates."""

import math

import pytest
import torch
from crops import crop, stack
from reference import IGNORE
from torch import Tensor, nn

from dhr.classifier.cam import CamClassifier
from dhr.classifier.none import NoClassifier
from dhr.core.losses import segmentation_loss, tag_loss
from dhr.core.sample import Batch, NetworkOutput
from dhr.decoder.interface import Decoder
from dhr.rebalancing.rebalancer import Relabelled
from dhr.rebalancing.view import View
from dhr.training.label_maker import GivenMasks, RebalancedMasks
from dhr.training.optimizer import AdamWithDecay, Sgd


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def test_cross_entropy_over_labelled_cells() -> None:
    logits = noise(2, 3, 4, 5)
    labels = torch.randint(0, 3, (2, 4, 5), generator=torch.Generator().manual_seed(0))
    labels[0, :2], labels[1, 0, 0] = IGNORE, IGNORE
    mask = labels.repeat_interleave(4, 1).repeat_interleave(4, 2).to(torch.uint8)
    terms = [
        math.log(sum(math.exp(value) for value in logits[b, :, y, x])) - float(logits[b, labels[b, y, x], y, x])
        for b, y, x in (labels != IGNORE).nonzero().tolist()
    ]
    assert len(terms) == 29
    assert float(segmentation_loss(logits, mask)) == pytest.approx(sum(terms) / 29, rel=1e-5)
    assert float(segmentation_loss(logits, labels)) == pytest.approx(sum(terms) / 29, rel=1e-5)


def test_every_label_has_its_weight() -> None:
    logits, weights = noise(2, 3, 4, 5), torch.rand(2, 4, 5, generator=torch.Generator().manual_seed(1))
    labels = torch.randint(0, 3, (2, 4, 5), generator=torch.Generator().manual_seed(0))
    labels[0, :2] = IGNORE
    terms = [
        float(weights[b, y, x]) * -math.log(float(logits[b, :, y, x].softmax(0)[labels[b, y, x]]))
        for b, y, x in (labels != IGNORE).nonzero().tolist()
    ]
    wide = [each.repeat_interleave(4, 1).repeat_interleave(4, 2) for each in (labels.to(torch.uint8), weights)]
    assert float(segmentation_loss(logits, *wide)) == pytest.approx(sum(terms) / 30, rel=1e-5)
    ones, none = torch.ones(2, 16, 20), torch.full((2, 4, 5), IGNORE)
    assert float(segmentation_loss(logits, wide[0], ones)) == pytest.approx(float(segmentation_loss(logits, wide[0])))
    assert float(segmentation_loss(logits, none, weights)) == 0


def test_nothing_to_learn_is_no_loss_but_a_gradient() -> None:
    logits = noise(1, 3, 2, 2).requires_grad_()
    loss = segmentation_loss(logits, torch.full((1, 8, 8), IGNORE, dtype=torch.uint8))
    loss.backward()
    assert float(loss.detach()) == 0
    assert bool((logits.grad == 0).all())


def test_soft_margin_of_the_mean_cam_inside_the_box() -> None:
    cams, tags = noise(2, 3, 2, 4) * 3, torch.tensor([[1.0, 0, 1], [0, 0, 1]])
    valid = torch.ones(2, 8, 16, dtype=torch.bool)
    valid[1, :, 9:] = False  # the third column of cells is touched, the fourth is not
    pooled = [cams[0].mean((1, 2)), cams[1, :, :, :3].mean((1, 2))]
    terms = [
        math.log1p(math.exp(-score if tag else score))
        for scores, row in zip(pooled, tags, strict=True)
        for score, tag in zip(scores.tolist(), row.tolist(), strict=True)
    ]
    assert float(tag_loss(cams, valid, tags)) == pytest.approx(sum(terms) / 6, rel=1e-5)


def test_cams_outside_the_box_get_no_gradient() -> None:
    cams, valid = noise(1, 2, 4, 4).requires_grad_(), torch.zeros(1, 16, 16, dtype=torch.bool)
    valid[:, 2:5, 8:16] = True
    tag_loss(cams, valid, torch.tensor([[1.0, 0]])).backward()
    assert (cams.grad[0, 0] != 0).tolist() == [[False, False, True, True]] * 2 + [[False] * 4] * 2
    assert bool(torch.isfinite(tag_loss(cams, torch.zeros_like(valid), torch.ones(1, 2))))


def test_rebalancing_starts_in_its_epoch() -> None:
    def all_ones(batch: Batch, output: NetworkOutput) -> Relabelled:
        view = View.of(batch, output, first_tag=1)
        return Relabelled(view, seeds=batch.wss_mask, pseudo_mask=torch.ones_like(batch.wss_mask))

    batch, output = stack([crop(0)])
    seen: list[Relabelled] = []
    maker = RebalancedMasks(all_ones, start_epoch=3, see=seen.append)
    for epoch, given in [(0, True), (2, True), (3, False), (9, False)]:
        expected = batch.wss_mask if given else torch.ones_like(batch.wss_mask)
        assert torch.equal(maker(batch, output, epoch), expected), epoch
    assert len(seen) == 2  # what is learnt is shown
    assert torch.equal(GivenMasks()(batch, output, 9), batch.wss_mask)


def rates(recipe: Sgd | AdamWithDecay, steps: int) -> list[tuple[float, float]]:
    """Learning rates of backbone and heads at every step, and after the last."""
    optimizer, schedule = recipe.build(nn.Linear(2, 3), [nn.Linear(3, 4), nn.Linear(3, 1)], steps)
    seen = []
    for _ in range(steps):
        seen.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[1]["lr"]))
        optimizer.step()
        schedule.step()
    return [*seen, (optimizer.param_groups[0]["lr"], optimizer.param_groups[1]["lr"])]


def test_poly_schedule() -> None:
    expected = [(1e-3 * (1 - step / 50) ** 0.9, 1e-2 * (1 - step / 50) ** 0.9) for step in range(51)]
    torch.testing.assert_close(torch.tensor(rates(Sgd(), 50)), torch.tensor(expected))


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 200])
def test_one_cycle_rises_and_falls(steps: int) -> None:
    seen = rates(AdamWithDecay(backbone_lr=1e-3, head_lr=4e-3), steps)
    assert all(head == pytest.approx(4 * backbone) and 0 < backbone <= 1e-3 for backbone, head in seen)
    assert seen[-1][0] < 1e-4
    if steps >= 10:
        top = max(range(steps), key=lambda step: seen[step][0])
        assert top == pytest.approx(0.3 * steps, abs=2)
        assert seen[top][0] == pytest.approx(1e-3, rel=0.05)
        assert [one for one, _ in seen[top:]] == sorted((one for one, _ in seen[top:]), reverse=True)


@pytest.mark.parametrize("recipe", [Sgd(), AdamWithDecay()])
def test_every_parameter_is_in_one_group_and_decays(recipe: Sgd | AdamWithDecay) -> None:
    backbone, heads = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)), [nn.Linear(3, 4), nn.Linear(3, 1)]
    optimizer, _ = recipe.build(backbone, heads, 10)
    assert [len(group["params"]) for group in optimizer.param_groups] == [4, 4]
    assert {group["weight_decay"] for group in optimizer.param_groups} == {recipe.weight_decay}
    if isinstance(recipe, Sgd):
        assert {group["momentum"] for group in optimizer.param_groups} == {0.9}


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_decoder_and_classifier_bring_their_losses(scale: float) -> None:
    logits, c5 = noise(2, 4, 8, 8), noise(2, 6, 4, 4)
    labels, valid, tags = torch.zeros(2, 16, 16), torch.ones(2, 16, 16, dtype=torch.bool), torch.eye(3)[:2]
    with_cams, without = CamClassifier(6, 3, scale=scale), NoClassifier(6, 3)
    output = NetworkOutput(logits=logits, cams=with_cams(c5).detach(), features=(c5, c5))
    assert float(Decoder().loss(output, labels)) == float(segmentation_loss(logits, labels)) > 0
    half = torch.full((2, 16, 16), 0.5)
    assert float(Decoder().loss(output, labels, half)) == pytest.approx(float(segmentation_loss(logits, labels)) / 2)
    assert float(with_cams.loss(output, valid, tags)) == float(tag_loss(output.cams, valid, tags)) > 0
    assert without(c5).shape == (2, 0, 4, 4) and list(without.parameters()) == []
    assert float(without.loss(NetworkOutput(logits, without(c5), (c5, c5)), valid, tags)) == 0
