"""The loss of Mask2Former against the one of transformers, and what 255 does to it."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import Mask2FormerConfig
from transformers.models.mask2former.modeling_mask2former import Mask2FormerLoss

from dhr.core.labels import IGNORE
from dhr.core.sample import Queries
from dhr.decoder.mask2former_loss import MaskLoss, Targets, assign, labels_at

CLASSES, QUERIES, SIDE = 5, 7, 24
LOSS = MaskLoss(points=300)
WEIGHTS = {"loss_cross_entropy": 2.0, "loss_mask": 5.0, "loss_dice": 5.0}


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def queries(images: int, seed: int = 0) -> Queries:
    cells = SIDE // 4
    classes, masks = random(images, QUERIES, CLASSES + 1, seed=seed), random(images, QUERIES, cells, cells, seed=9)
    return Queries(classes.requires_grad_(), (3 * masks).requires_grad_())


def blocks(images: int, seed: int = 0, classes: int = CLASSES) -> Tensor:
    """Labels in blocks of 8x8 pixels."""
    drawn = torch.randint(0, classes, (images, SIDE // 8, SIDE // 8), generator=torch.Generator().manual_seed(seed))
    return drawn.repeat_interleave(8, 1).repeat_interleave(8, 2)


def published(layers: list[Queries], labels: Tensor, loss: MaskLoss) -> Tensor:
    """The loss of transformers, with its weights, the last layer first."""
    config = Mask2FormerConfig(
        num_labels=CLASSES, train_num_points=loss.points, class_weight=2.0, mask_weight=5.0, dice_weight=5.0
    )
    present = [each.unique() for each in labels]
    masks = [(each == classes[:, None, None]).float() for each, classes in zip(labels, present, strict=True)]
    said = [{"masks_queries_logits": each.masks, "class_queries_logits": each.classes} for each in layers]
    parts = Mask2FormerLoss(config, WEIGHTS)(
        **said[-1], mask_labels=masks, class_labels=present, auxiliary_predictions=said[:-1]
    )
    return sum(WEIGHTS[key.rstrip("_0123456789")] * value for key, value in parts.items())


@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("depth", [1, 4])
def test_without_255_it_is_the_published_loss(images: int, depth: int) -> None:
    layers, labels = [queries(images, seed) for seed in range(depth)], blocks(images).to(torch.uint8)
    torch.manual_seed(0)
    expected = published(layers, labels.long(), LOSS)
    torch.manual_seed(0)
    made = LOSS((layers[-1], *layers[:-1]), labels)  # in the order in which transformers draws its points
    torch.testing.assert_close(made, expected)
    ours = torch.autograd.grad(made, [each.masks for each in layers] + [each.classes for each in layers])
    theirs = torch.autograd.grad(expected, [each.masks for each in layers] + [each.classes for each in layers])
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)


def test_more_classes_than_queries() -> None:
    said = Queries(random(1, 2, CLASSES + 1), random(1, 2, 6, 6))
    labels = blocks(1, seed=3)
    assert len(labels.unique()) > 2
    torch.manual_seed(0)
    expected = published([said], labels, LOSS)
    torch.manual_seed(0)
    torch.testing.assert_close(LOSS((said,), labels), expected)


def test_targets_are_the_classes_of_each_image() -> None:
    labels = torch.tensor([[[4, 4, 0], [255, 0, 0]], [[255, 255, 3], [3, 3, 3]]], dtype=torch.uint8)
    targets = Targets.of(labels)
    assert targets.classes.tolist() == [[0, 4], [3, 0]]
    assert targets.present.tolist() == [[True, True], [True, False]]
    for image, slot, value in [(0, 0, 0), (0, 1, 4), (1, 0, 3)]:
        assert torch.equal(targets.masks[image, slot], (labels[image] == value).float())
    assert not targets.masks[1, 1].any()
    assert torch.equal(targets.known[:, 0], (labels != IGNORE).float())


def cell_points(side: int) -> Tensor:
    """(1,P,2) the centres of all pixels, as x, y."""
    centres = (torch.arange(side) + 0.5) / side
    return torch.cartesian_prod(centres, centres).flip(1)[None]


def test_labels_at_points_are_made_of_known_pixels_alone() -> None:
    """Half-way between a pixel of the class and one without a label, the label is the class, at half the weight."""
    masks, known = torch.zeros(1, 2, 4, 4), torch.ones(1, 1, 4, 4)
    masks[:, 0, :, :2], masks[:, 1, :, 3:] = 1, 1
    known[..., 2] = 0
    between = torch.tensor([[[2 / 4, 0.5], [3 / 4, 0.5], [2.5 / 4, 0.5], [1.75 / 4, 0.5], [1 / 4, 0.5]]])
    truth, weight = labels_at(masks, known, between)
    torch.testing.assert_close(weight[0, 0], torch.tensor([0.5, 0.5, 0.0, 0.75, 1.0]))
    torch.testing.assert_close(truth[0, 0], torch.tensor([1.0, 0.0, 0.0, 1.0, 1.0]))
    torch.testing.assert_close(truth[0, 1], torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0]))


def slow_costs(said: Queries, labels: Tensor) -> Tensor:
    """(Q,M) from every known pixel of one image, by loops; the logits have the size of the labels."""
    known = labels != IGNORE
    classes = [int(each) for each in labels[known].unique()]
    table = torch.zeros(said.masks.shape[1], len(classes))
    for query, logits in enumerate(said.masks[0]):
        for slot, value in enumerate(classes):
            entropy, inside, area, count = 0.0, 0.0, 0.0, 0
            for row, column in known.nonzero().tolist():
                truth = float(labels[row, column] == value)
                probability = 1 / (1 + math.exp(-float(logits[row, column])))
                entropy -= math.log(probability if truth else 1 - probability)
                inside, area, count = inside + probability * truth, area + probability + truth, count + 1
            dice = 1 - (2 * inside + 1) / (area + 1)
            likely = float(said.classes[0, query].softmax(0)[value])
            table[query, slot] = 5 * entropy / count + 5 * dice - 2 * likely
    return table


def with_hole(labels: Tensor) -> Tensor:
    holed = labels.clone()
    holed[:, 1:4, 2:6] = IGNORE
    return holed


def test_a_label_of_no_weight_is_an_unknown_one() -> None:
    """Where its class has other pixels in the image; and weights of 1 change nothing."""
    said, labels = queries(2), blocks(2, classes=2)
    holed, weights = with_hole(labels), (with_hole(labels) != IGNORE).float()
    for expected, given in ((holed, weights), (labels, torch.ones_like(weights))):
        torch.manual_seed(0)
        without = LOSS((said,), expected)
        torch.manual_seed(0)
        assert torch.equal(LOSS((said,), labels, given), without)


def test_costs_are_those_of_the_known_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    side, labels = 8, with_hole(blocks(1, seed=1)[:, 4:12, 4:12])
    said = Queries(random(1, 3, CLASSES + 1), 2 * random(1, 3, side, side))
    monkeypatch.setattr(torch, "rand", lambda *shape, device: cell_points(side))
    costs = MaskLoss(points=side * side).costs(said, Targets.of(labels))
    torch.testing.assert_close(costs[0], slow_costs(said, labels[0]), atol=1e-4, rtol=1e-4)


def filled(masks: Tensor, where: Tensor, value: float) -> Tensor:
    """Logits (B,Q,H,W) with another value where a pixel has no label, one pixel away from every known one."""
    inner = -functional.max_pool2d(-where.float()[:, None], 3, stride=1, padding=1) > 0
    assert bool(inner.any())
    return torch.where(inner, value, masks)


@pytest.mark.parametrize("value", [-8.0, 8.0])
def test_what_a_query_says_where_no_label_is_changes_nothing(value: float) -> None:
    """Not the loss, whether the query claims the pixels or not, and not its gradient."""
    labels = blocks(2)
    labels[0, 4:18, 5:20] = IGNORE
    certain = 4 * random(2, QUERIES, SIDE, SIDE).sign()  # no point is more uncertain than another
    losses, gradients = [], []
    for masks in (certain, filled(certain, labels == IGNORE, value)):
        said = Queries(random(2, QUERIES, CLASSES + 1), masks.requires_grad_())
        torch.manual_seed(0)
        losses.append(LOSS((said,), labels))
        gradients.append(torch.autograd.grad(losses[-1], said.masks)[0])
    inner = filled(torch.zeros_like(certain), labels == IGNORE, 1.0) > 0
    assert not gradients[1][inner].any() and bool(gradients[1][~inner].any())
    # Points between a changed pixel and a kept one have no weight either.
    torch.testing.assert_close(losses[1], losses[0])


def test_as_a_class_of_its_own_255_would_count() -> None:
    """The test above would see it: the same pixels with the label of another class do change the loss."""
    labels, certain = blocks(2), 4 * random(2, QUERIES, SIDE, SIDE).sign()
    hole = torch.zeros_like(labels, dtype=torch.bool)
    hole[0, 4:18, 5:20] = True
    values = []
    for masks in (certain, filled(certain, hole, -8.0)):
        torch.manual_seed(0)
        values.append(LOSS((Queries(random(2, QUERIES, CLASSES + 1), masks),), labels.masked_fill(hole, 4)))
    assert abs(float(values[0] - values[1])) > 0.05


def test_uncertain_points_are_not_wasted_on_pixels_without_a_label() -> None:
    loss, known = MaskLoss(points=400, importance=1.0), torch.ones(1, 1, SIDE, SIDE)
    known[..., : SIDE // 2] = 0
    logits = torch.full((1, 1, SIDE, SIDE), 5.0)
    logits[..., : SIDE // 2] = 0.0  # most uncertain where nothing is known
    points = loss._uncertain(logits, known)
    assert points.shape == (1, 400, 2) and float(points[..., 0].min()) > 0.4


@pytest.mark.parametrize("depth", [1, 3])
def test_nothing_known_teaches_nothing(depth: int) -> None:
    layers = tuple(queries(2, seed) for seed in range(depth))
    loss = LOSS(layers, torch.full((2, SIDE, SIDE), IGNORE, dtype=torch.uint8))
    loss.backward()
    assert float(loss.detach()) == 0
    assert all(each.grad is not None and not each.grad.any() for one in layers for each in (one.classes, one.masks))


def test_an_image_without_labels_leaves_the_others_as_they_are() -> None:
    both, labels = queries(2), blocks(2)
    labels[1] = IGNORE
    loss = LOSS((both,), labels)
    loss.backward()
    assert bool(torch.isfinite(loss)) and float(loss.detach()) > 0
    assert not both.classes.grad[1].any() and not both.masks.grad[1].any()
    assert bool(both.classes.grad[0].any()) and bool(both.masks.grad[0].any())


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_half_precision_is_matched_and_compared_in_float32(kind: torch.dtype) -> None:
    said, labels = queries(2), blocks(2)
    half = Queries(said.classes.detach().to(kind), said.masks.detach().to(kind))
    losses = []
    for each, precise in ((half, False), (Queries(half.classes.float(), half.masks.float()), True)):
        torch.manual_seed(0)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=not precise):
            losses.append(LOSS((each,), labels))
    assert losses[0].dtype == torch.float32
    torch.testing.assert_close(losses[0], losses[1])


def test_costs_that_are_not_finite_are_taken_last() -> None:
    costs = torch.tensor([[[1.0, torch.nan], [torch.inf, 2.0], [3.0, 3.0]]])
    pairs = assign(costs, torch.ones(1, 2, dtype=torch.bool))
    assert list(zip(pairs.queries.tolist(), pairs.slots.tolist(), strict=True)) == [(0, 0), (1, 1)]


def test_right_queries_cost_less_than_wrong_ones() -> None:
    labels = blocks(1, seed=2)
    masks = torch.full((1, QUERIES, SIDE, SIDE), -6.0)
    classes = torch.full((1, QUERIES, CLASSES + 1), -6.0)
    classes[..., -1] = 6.0
    for place, value in enumerate(labels.unique()):
        masks[0, place] = 12.0 * (labels[0] == value) - 6.0
        classes[0, place, value], classes[0, place, -1] = 6.0, -6.0
    right, other_class = LOSS((Queries(classes, masks),), labels), Queries(classes.roll(1, dims=1), masks)
    other_mask = Queries(classes, masks.roll(8, dims=-1))
    assert 4 * float(right) < min(float(LOSS((each,), labels)) for each in (other_class, other_mask))
