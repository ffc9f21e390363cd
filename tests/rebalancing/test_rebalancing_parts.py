"""The parts of the rebalancer one by one, after the seeds: shares, prototypes, groups, masses."""

from dataclasses import replace

import numpy as np
import pytest
import reference
import torch
from crops import GRID, SIZE, scene, view_of
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import IGNORE
from torch import Tensor

from dhr.rebalancing.inter_class import Heatmaps, InterClass, NoInterClass
from dhr.rebalancing.intra_class import ConnectedGroups, IntraClass
from dhr.rebalancing.prototypes import AreaShares, MeanDirection, MeanFeature, PureShares, prototypes_of, similarity
from dhr.rebalancing.refine import AreaMass, FinalTransport, NoFinalTransport
from dhr.rebalancing.released import MajorityShares, UpperTriangleGroups
from dhr.rebalancing.transport import Transport


def expected_map(features: np.ndarray, centre: np.ndarray) -> np.ndarray:
    return reference.similarity(features, centre, np.ones(GRID, bool))


@pytest.mark.parametrize("grid", [(4, 5), (3, 7), (16, 20), (1, 1)])
def test_area_shares(grid: tuple[int, int]) -> None:
    pixels = torch.rand(2, 3, *SIZE, generator=torch.Generator().manual_seed(0)) > 0.7
    shares = AreaShares()(pixels, grid)
    for image, slot in reference.places((2, 3)):
        expected = reference.area_shares(pixels[image, slot].numpy(), grid)
        np.testing.assert_allclose(shares[image, slot].numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("least", [0.5, 0.9])
def test_pure_shares(least: float) -> None:
    generator = torch.Generator().manual_seed(0)
    kinds = torch.rand(2, 4, *GRID, generator=generator).repeat_interleave(4, 2).repeat_interleave(4, 3)
    pixels = torch.rand(2, 4, *SIZE, generator=generator) < kinds * torch.tensor([1.5, 1.0, 0.15, 0.0]).view(1, 4, 1, 1)
    shares, area = PureShares(least)(pixels, GRID), AreaShares()(pixels, GRID)
    for image, slot in reference.places((2, 4)):
        expected = reference.pure_shares(pixels[image, slot].numpy(), GRID, least=least)
        np.testing.assert_allclose(shares[image, slot].numpy(), expected, atol=1e-6)
    changed = (shares != area).flatten(2).any(2)
    assert changed[:, 0].all()
    assert not changed[:, 2:].any()  # nowhere wide, or not there


def test_the_mean_direction_does_not_know_lengths() -> None:
    generator = torch.Generator().manual_seed(0)
    features, shares = torch.randn(2, 6, *GRID, generator=generator), torch.rand(2, 3, *GRID, generator=generator)
    features[0, :, 0, 0], shares[1, 2] = 0, 0
    made = MeanDirection()(features, shares)
    for image, slot in reference.places((2, 3)):
        expected = reference.direction(features[image].numpy(), shares[image, slot].numpy())
        np.testing.assert_allclose(made[image, slot].numpy(), expected, atol=1e-5)
    lengths = torch.rand(2, 1, *GRID, generator=generator) + 0.1
    torch.testing.assert_close(MeanDirection()(features * lengths, shares), made)
    assert not torch.allclose(MeanFeature()(features * lengths, shares), MeanFeature()(features, shares))


def test_a_class_without_a_majority_keeps_its_prototype_by_area() -> None:
    mask = np.zeros(SIZE, int)
    mask[5, 5:8] = 3  # three pixels of a cell of sixteen
    one = scene(wss_mask=mask)
    view, seeds = view_of(one), torch.from_numpy(mask)[None]
    by_area, by_majority = (
        InterClass(AreaShares(), MeanFeature())(view, seeds),
        InterClass(MajorityShares(), MeanFeature())(view, seeds),
    )
    assert by_area.present.tolist() == [[True, False, True]]
    assert by_majority.present.tolist() == [[True, False, False]]
    assert by_area.shares[0, 2, 1, 1] == pytest.approx(3 / 16)
    np.testing.assert_allclose(by_area.values[0, 2].numpy(), expected_map(one.uss, one.uss[:, 1, 1]), atol=1e-5)
    assert not by_majority.values[0, 2].any()
    assert torch.equal(by_majority.shares.sum(1), torch.ones(1, *GRID))


@pytest.mark.parametrize(
    ("row", "owner"),
    [
        ([1, 255, 255, 255], None),  # 255 covers most
        ([1, 1, 255, 255], 0),  # of equal ones the class with the lowest number
        ([2, 1, 1, 2], 0),
        ([2, 2, 1, 255], 1),
        ([255, 255, 1, 2], None),
        ([255] * 4, None),
    ],
)
def test_released_cells_belong_to_the_label_that_covers_most(row: list[int], owner: int | None) -> None:
    counts = np.bincount(row).argmax()
    assert (None if counts == IGNORE else counts - 1) == owner
    cell = torch.tensor(row).view(1, 1, 2, 2)
    shares = MajorityShares()(torch.cat([cell == 1, cell == 2], 1), (1, 1)).flatten().tolist()
    assert shares == [float(owner == 0), float(owner == 1)]


def test_prototypes_and_likeness() -> None:
    generator = torch.Generator().manual_seed(0)
    features, shares = torch.randn(2, 6, *GRID, generator=generator), torch.rand(2, 3, *GRID, generator=generator)
    shares[1, 2], shares[0, 0] = 0, shares[0, 0] / 100
    centres = prototypes_of(features, shares)
    maps = similarity(features, centres, torch.ones(2, 1, *GRID, dtype=torch.bool))
    for image, slot in reference.places((2, 3)):
        centre = reference.prototype(features[image].numpy(), shares[image, slot].numpy())
        np.testing.assert_allclose(centres[image, slot].numpy(), centre, atol=1e-5)
        np.testing.assert_allclose(maps[image, slot].numpy(), expected_map(features[image].numpy(), centre), atol=1e-5)
    assert not centres[1, 2].any()


def test_closeness_is_the_positive_cosine_of_prototypes() -> None:
    features = np.zeros((2, *GRID))
    features[0, :, :2], features[0, :, 2:], features[1, :2, 2:] = 1.0, -1.0, 3.0  # the right half turns upwards
    mask = np.zeros(SIZE, int)
    mask[:, :8], mask[:8, 8:] = 2, 3
    maps = InterClass(AreaShares(), MeanFeature())(
        view_of(scene(uss=features, wss_mask=mask)), torch.from_numpy(mask)[None]
    )
    expected = [[1, 0, 0.1**0.5], [0, 1, 0], [0.1**0.5, 0, 1]]  # background points left, class 3 left and upwards
    torch.testing.assert_close(maps.closeness[0], torch.tensor(expected))


def test_without_uss_all_classes_are_confusable() -> None:
    view = view_of(scene(), scene(tags=np.eye(5, dtype=bool)[1]))
    maps = NoInterClass(AreaShares())(view, view.wss_mask)
    assert maps.present.tolist() == [[True, True, False], [True, True, False]]
    assert torch.equal(maps.values, (maps.present[:, :, None, None] & view.cells).float())
    assert ConnectedGroups()(maps.closeness, maps.present)[0].any(0).tolist() == [True, True, False]


def symmetric(bits: list[bool], count: int) -> Tensor:
    """(1,M,M) closeness, 1 or 0, from the bits above the diagonal."""
    close = torch.zeros(count, count)
    rows, columns = torch.triu_indices(count, count, 1)
    close[rows, columns] = torch.tensor(bits[: len(rows)]).float()
    return (close + close.T + torch.eye(count))[None]


def members(groups: Tensor) -> set[frozenset[int]]:
    return {frozenset(row.nonzero().flatten().tolist()) for row in groups[0] if row.any()}


@settings(max_examples=80, deadline=None)
@given(
    bits=st.lists(st.booleans(), min_size=36, max_size=36),
    count=st.integers(1, 9),
    absent=st.sets(st.integers(0, 8)),
    order=st.permutations(range(9)),
)
def test_groups_are_components_whatever_the_order(
    bits: list[bool], count: int, absent: set[int], order: list[int]
) -> None:
    close = symmetric([bit and number % 3 != 0 for number, bit in enumerate(bits)], count)
    present = torch.tensor([[slot not in absent for slot in range(count)]])
    both = (present[0, :, None] & present[0]).numpy()
    groups = ConnectedGroups(0.8)(close, present)
    assert members(groups) == {frozenset(one) for one in reference.components(both & (close[0].numpy() > 0.8))}
    assert groups.sum((1,)).max() <= 1
    turned = torch.tensor([slot for slot in order if slot < count])
    moved = ConnectedGroups(0.8)(close[:, turned][:, :, turned], present[:, turned])
    assert {frozenset(turned[list(one)].tolist()) for one in members(moved)} == members(groups)


def test_a_long_chain_is_one_group() -> None:
    count = 20
    close = (torch.arange(count)[:, None] - torch.arange(count)).abs()[None] <= 1
    groups = ConnectedGroups(0.5)(close.float(), torch.ones(1, count, dtype=torch.bool))
    assert members(groups) == {frozenset(range(count))}


def test_tau_is_the_bound() -> None:
    close = torch.tensor([[[1.0, 0.8], [0.8, 1.0]]])
    present = torch.ones(1, 2, dtype=torch.bool)
    assert members(ConnectedGroups(0.79)(close, present)) == {frozenset({0, 1})}
    assert members(ConnectedGroups(0.8)(close, present)) == set()


def test_released_groups_overlap() -> None:
    close = symmetric([True, False, True], 3)  # 0-1 and 1-2
    present = torch.ones(1, 3, dtype=torch.bool)
    assert members(UpperTriangleGroups(0.8)(close, present)) == {frozenset({0, 1}), frozenset({1, 2})}
    assert members(ConnectedGroups(0.8)(close, present)) == {frozenset({0, 1, 2})}


def heatmaps(values: Tensor, closeness: float = 1.0) -> Heatmaps:
    images, slots = values.shape[:2]
    present = torch.ones(images, slots, dtype=torch.bool)
    return Heatmaps(values, values, torch.full((images, slots, slots), closeness), present)


def test_intra_class_leaves_classes_outside_of_groups_alone() -> None:
    view = view_of(scene())
    maps = heatmaps(torch.rand(1, 3, *GRID, generator=torch.Generator().manual_seed(0)))
    close = torch.eye(3)[None].clone()
    close[0, 1, 2] = close[0, 2, 1] = 0.9
    shared_out = IntraClass(ConnectedGroups(0.8), Transport())(view, replace(maps, closeness=close))
    assert torch.equal(shared_out.values[:, 0], maps.values[:, 0])
    assert bool((shared_out.values[:, 1:] <= maps.values[:, 1:]).all())
    assert not torch.equal(shared_out.values, maps.values)


def test_mass_by_area() -> None:
    values = torch.zeros(1, 3, 2, 2)
    values[0, 0], values[0, 1, 0, 0] = 1.0, 1.0
    maps = replace(heatmaps(values), present=torch.tensor([[True, True, False]]))
    assert AreaMass(0.0)(maps).tolist() == [[1, 1, 0]]
    assert AreaMass(0.5)(maps).tolist() == [[2, 1, 0]]
    assert AreaMass(1.0)(maps).tolist() == [[4, 1, 0]]


def test_final_transport_of_one_class_and_without_any() -> None:
    values = torch.rand(2, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    cells = torch.ones(2, 1, 3, 3, dtype=torch.bool)
    maps = replace(heatmaps(values), present=torch.tensor([[True, False], [False, False]]))
    moved = FinalTransport(Transport(), AreaMass())(maps, cells)
    np.testing.assert_allclose(moved[0, 0].numpy(), reference.unit_range(values[0, 0].numpy(), cells[0, 0]), atol=1e-6)
    assert not moved[0, 1].any()
    assert not moved[1].any()
    assert NoFinalTransport()(maps, cells) is maps.values
