"""Statistics of labels, against loops over pixels and plans."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from crops import SIZE, crop, stack, view_of
from reference import IGNORE, sinkhorn
from torch import Tensor

from dhr.rebalancing.rebalancer import Relabelled
from dhr.rebalancing.released import ReleasedSeeds, ReleasedTransport
from dhr.rebalancing.seed import AgreedSeeds, AnswerSeeds, NoSeeds, Overwrite, Seeds, SeedStep, competing
from dhr.rebalancing.statistics import STATISTICS, LabelStatistics, transport_residual
from dhr.rebalancing.transport import Transport
from dhr.rebalancing.view import View

SEEDS = Seeds(Transport(), Overwrite())


def drawn(view: View, seed: int) -> Tensor:
    """Random labels (B,H,W) among the slots of each image, and IGNORE."""
    numbers = torch.randint(0, view.slots.index.shape[1] + 1, view.wss_mask.shape, generator=torch.manual_seed(seed))
    labels = torch.cat([view.slots.index, torch.full((len(numbers), 1), IGNORE)], 1)
    return torch.gather(labels, 1, numbers.flatten(1)).view_as(numbers)


def slowly(view: View, seeds: np.ndarray, pseudo_mask: np.ndarray) -> list[list[float]]:
    """Seeded, restored and disagreement of every image, pixel by pixel."""
    rows = []
    for image in range(len(seeds)):
        valid, given = view.valid[image, 0].numpy(), view.wss_mask[image].numpy()
        seeded = differing = pixels = 0
        before: set[int] = set()
        after: set[int] = set()
        for place in np.argwhere(valid):
            row, column = map(int, place)
            was, seed, is_now = int(given[row, column]), seeds[image, row, column], pseudo_mask[image, row, column]
            pixels += 1
            seeded += seed not in (was, IGNORE)
            differing += was != is_now and IGNORE not in (was, is_now)
            before.add(was)
            after.add(int(is_now))
        tags = {int(label) for label in view.slots.index[image, 1:]} - {IGNORE}
        rows.append([seeded / max(pixels, 1), len((after - before) & tags), differing / max(pixels, 1)])
    return rows


@pytest.mark.parametrize("first_tag", [0, 1])
def test_masks_are_compared_pixel_by_pixel(first_tag: int) -> None:
    view = view_of(*(crop(number, first_tag) for number in range(6)), first_tag=first_tag)
    labels = Relabelled(view, seeds=drawn(view, 1), pseudo_mask=drawn(view, 2))
    found = LabelStatistics.of(labels, NoSeeds()).stacked()
    assert found.shape == (len(STATISTICS), 6) and found.dtype == torch.float32
    expected = slowly(view, labels.seeds.numpy(), labels.pseudo_mask.numpy())
    torch.testing.assert_close(found[:3].T, torch.tensor(expected, dtype=torch.float32))
    assert found[1].max() > 0 and found[0].max() > 0 and found[2].max() > 0


def test_a_mask_that_nothing_changes_has_zeros() -> None:
    view = view_of(*(crop(number) for number in range(6)))
    found = LabelStatistics.of(Relabelled(view, view.wss_mask, view.wss_mask), NoSeeds()).stacked()
    assert found[:3].tolist() == [[0.0] * 6] * 3
    unknown = torch.full_like(view.wss_mask, IGNORE)
    assert LabelStatistics.of(Relabelled(view, unknown, unknown), NoSeeds()).stacked()[:3].tolist() == [[0.0] * 6] * 3


def test_an_empty_box_has_no_share() -> None:
    nothing = replace(crop(0), valid=np.zeros(SIZE, bool))
    batch, output = stack([nothing])
    view = View.of(replace(batch, boxes=torch.tensor([[0, 0, 0, 0]])), output, first_tag=1)
    labels = Relabelled(view, torch.ones_like(view.wss_mask), torch.ones_like(view.wss_mask))
    assert LabelStatistics.of(labels, NoSeeds()).stacked()[:3].flatten().tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("iterations", [1, 3, 100])
def test_the_residual_is_what_is_missing_in_the_cells(iterations: int) -> None:
    view = view_of(*(crop(number) for number in range(6)))
    seed = Seeds(Transport(iterations=iterations), Overwrite())
    found = transport_residual(view, seed)
    cams, on, tagged = (each.double().numpy() for each in competing(view))
    for image, residual in enumerate(found.tolist()):
        classes, cells = tagged[image] > 0, on[image, 0] > 0
        if classes.sum() < 2:
            assert np.isnan(residual)
            continue
        plan = sinkhorn(cams[image][classes][:, cells], [1] * int(classes.sum()), epsilon=0.1, iterations=iterations)
        error = np.abs(plan.sum(0) - 1 / cells.sum()).sum()
        assert residual == pytest.approx(error, rel=1e-3, abs=2e-6)
        assert np.allclose(plan.sum(1), 1 / classes.sum())  # there is no other error
    assert found.isnan().tolist() == [False, True, False, False, True, False]


def test_released_transport_stops_far_from_its_end() -> None:
    view = view_of(*(crop(number) for number in range(6)))
    released, exact = (transport_residual(view, seed) for seed in (ReleasedSeeds(ReleasedTransport()), SEEDS))
    assert released.isnan().tolist() == exact.isnan().tolist()
    assert released.nansum() > 10 * exact.nansum()


@pytest.mark.parametrize(
    ("seed", "transports"),
    [(SEEDS, True), (AgreedSeeds(SEEDS), True), (AgreedSeeds(NoSeeds()), False), (AnswerSeeds(), False)],
)
def test_only_a_transport_has_a_residual(seed: SeedStep, transports: bool) -> None:
    assert bool(transport_residual(view_of(crop(0)), seed).isfinite()) == transports
