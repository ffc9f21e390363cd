"""The parts of the rebalancer one by one: slots, evidence, seeds, shares, prototypes, groups, masses."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import reference
import torch
from crops import GRID, SIZE, crop, plain, stack
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import IGNORE, Crop
from torch import Tensor

from dhr.rebalancing.inter_class import Heatmaps, InterClass, NoInterClass
from dhr.rebalancing.intra_class import ConnectedGroups, IntraClass
from dhr.rebalancing.prototypes import AreaShares, likeness, prototypes_of
from dhr.rebalancing.refine import AreaMass, FinalTransport, NoFinalTransport
from dhr.rebalancing.released import MajorityShares, ReleasedSeeds, ReleasedTransport, UpperTriangleGroups
from dhr.rebalancing.seed import Overwrite, Restore, Seeds
from dhr.rebalancing.slots import Slots
from dhr.rebalancing.transport import Transport
from dhr.rebalancing.view import AllTags, CropEvidence, View

SEEDS = Seeds(Transport(), Overwrite())


def view_of(*crops: Crop, first_tag: int = 1) -> View:
    return View.of(*stack(list(crops)), first_tag=first_tag)


def scene(**changes: Any) -> Crop:
    """Tags 1 and 2; the WSS mask knows background and class 2 (tag 1); everything is valid."""
    mask = np.zeros(SIZE, int)
    mask[:, :8] = 2
    plain = replace(crop(0), tags=np.array([0, 1, 1, 0, 0]) > 0, wss_mask=mask)
    return replace(plain, **changes)


def expected_map(features: np.ndarray, centre: np.ndarray) -> np.ndarray:
    return reference.likeness(features, centre, np.ones(GRID, bool))


def cams(tag: int, height: float = 4.0, below: float = -1.0) -> np.ndarray:
    """A CAM whose right half is high for one tag, everything else low."""
    maps = np.full((5, 4, 5), below)
    maps[tag, :, 3:] = height
    return maps


@pytest.mark.parametrize("first_tag", [0, 1])
def test_slots(first_tag: int) -> None:
    slots = Slots.of(torch.tensor([[0.0, 1, 0, 1], [0, 0, 0, 0], [1, 0, 0, 0]]), first_tag=first_tag, most_tags=2)
    none = 0 if first_tag else IGNORE
    assert slots.index.tolist() == [
        [none, 1 + first_tag, 3 + first_tag],
        [none, IGNORE, IGNORE],
        [none, first_tag, IGNORE],
    ]
    assert slots.present.tolist() == [[bool(first_tag), *row] for row in ([True, True], [False] * 2, [True, False])]
    assert torch.equal(slots.present, slots.index != IGNORE)
    maps = torch.arange(4.0).view(1, 4, 1, 1).expand(3, 4, 2, 2) + 10
    assert slots.of_tags(maps)[:, :, 0, 0].tolist() == [[11, 13], [0, 0], [10, 0]]
    mask = torch.tensor([[[1 + first_tag, 3 + first_tag, none, IGNORE, 2 + first_tag]]]).expand(3, 1, 5)
    shown = slots.one_hot(mask)[0, :, 0]
    assert shown[1:].tolist() == [[True, *[False] * 4], [False, True, False, False, False]]
    assert shown[0].tolist() == [False, False, bool(first_tag), False, False]
    assert slots.to_classes(torch.tensor([[[2, 1]]] * 3))[0].tolist() == [[3 + first_tag, 1 + first_tag]]


def test_a_tag_counts_by_pixels_or_by_its_cams() -> None:
    shown = scene(cams=np.full((5, 4, 5), -1.0))
    found = scene(cams=cams(2))
    neither = scene(cams=cams(2, height=1.0))  # the mean stays below 0
    view = CropEvidence()(view_of(shown, found, neither))
    assert view.slots.present.tolist() == [[True, True, False], [True, True, True], [True, True, False]]
    assert CropEvidence(minimum_pixels=129)(view_of(shown)).slots.present.tolist() == [[True, False, False]]
    assert CropEvidence(minimum_score=2.0)(view_of(found)).slots.present.tolist() == [[True, True, False]]
    assert bool(AllTags()(view_of(shown, neither)).slots.present.all())


@pytest.mark.parametrize(
    ("pixels", "share", "height", "believed"),
    [
        (15, 0.0, 16, False),  # fewer than the least number
        (16, 0.0, 16, True),
        (31, 0.1, 16, False),  # less than a tenth of 320
        (32, 0.1, 16, True),
        (19, 0.1, 10, False),  # the box is smaller, and so is its tenth
        (20, 0.1, 10, True),
        (16, 0.1, 5, True),
        (1, 0.0, 16, False),
    ],
)
def test_a_few_stray_pixels_prove_no_tag(pixels: int, share: float, height: int, believed: bool) -> None:
    mask, valid = np.zeros(SIZE, int), np.zeros(SIZE, bool)
    valid[:height] = True
    mask[:2].flat[:pixels] = 2
    view = view_of(scene(wss_mask=mask, valid=valid, cams=np.full((5, 4, 5), -1.0)))
    assert CropEvidence(minimum_share=share)(view).slots.present.tolist() == [[True, believed, False]]


def test_every_tag_counts_where_the_whole_image_is_shown() -> None:
    vanished = scene(cams=np.full((5, 4, 5), -1.0), wss_mask=np.zeros(SIZE, int))
    view = CropEvidence()(view_of(vanished, replace(vanished, whole=True)))
    assert view.slots.present.tolist() == [[True, False, False], [True, True, True]]


def test_evidence_outside_the_valid_box_does_not_count() -> None:
    valid = np.zeros(SIZE, bool)
    valid[:, 8:12] = True  # neither the WSS pixels of class 2 nor the high CAM cells of tag 2 but one column
    one = scene(cams=cams(2), valid=valid)
    assert CropEvidence()(view_of(one)).slots.present.tolist() == [[True, False, False]]


def test_confident_pixels_are_written_and_the_rest_stays() -> None:
    one = scene(cams=cams(2))
    one.wss_mask[:4] = IGNORE
    seeds = SEEDS(*plain(view_of(one)))[0].numpy()
    assert (seeds[:, 15:] == 3).all()
    assert (seeds[:, :8] == one.wss_mask[:, :8]).all()


def test_a_higher_threshold_writes_less() -> None:
    one = scene(cams=np.abs(crop(0).cams))
    written = [
        int((replace(SEEDS, threshold=threshold)(*plain(view_of(one)))[0].numpy() != one.wss_mask).sum())
        for threshold in (0.0, 0.5, 0.8, 1.0)
    ]
    assert sorted(written, reverse=True) == written
    assert written[0] > written[2] > written[3] == 0


def test_gamma_below_one_favours_background() -> None:
    one = scene(cams=np.abs(crop(0).cams))
    none = [float(replace(SEEDS, gamma=gamma).marginals(*plain(view_of(one)))[0, 0].mean()) for gamma in (0.5, 1, 3)]
    assert none[0] > none[1] > none[2]


def test_seeds_never_write_ignore() -> None:
    for number in range(24):
        one = crop(number)
        for seeds in (SEEDS, replace(SEEDS, policy=Restore()), ReleasedSeeds(ReleasedTransport())):
            made = seeds(*plain(view_of(one)))[0].numpy()
            assert not ((made == IGNORE) & (one.wss_mask != IGNORE)).any()
            assert (made[~one.valid] == one.wss_mask[~one.valid]).all()


@pytest.mark.parametrize("first_tag", [0, 1])
def test_without_cams_the_wss_mask_stays(first_tag: int) -> None:
    one = replace(crop(2, first_tag), cams=np.full((5, 3, 4), -1.0))
    assert (SEEDS(*plain(view_of(one, first_tag=first_tag)))[0].numpy() == one.wss_mask).all()


def test_one_tag_does_not_take_the_whole_crop() -> None:
    one = scene(tags=np.eye(5, dtype=bool)[2], cams=cams(2), wss_mask=np.zeros(SIZE, int))
    made = SEEDS(*plain(view_of(one)))[0].numpy()
    released = ReleasedSeeds(ReleasedTransport())(*plain(view_of(one)))[0].numpy()
    assert (made == 3).mean() == pytest.approx(0.4, abs=0.15)
    assert (released == 3).all()


def test_restore_writes_missing_classes_alone() -> None:
    maps = cams(2)
    maps[1, :2] = 4.0  # class 2 is in the WSS mask already, class 3 is not
    one = scene(cams=maps)
    restored = replace(SEEDS, policy=Restore())(*plain(view_of(one)))[0].numpy()
    overwritten = SEEDS(*plain(view_of(one)))[0].numpy()
    assert (restored[10:, 15:] == 3).all()
    assert (overwritten[:6, 9:11] == 2).any()
    assert ((restored == 2) == (one.wss_mask == 2) & (restored != 3)).all()


def test_restore_counts_shares() -> None:
    confident, given = torch.zeros(1, 2, 4, 5, dtype=torch.bool), torch.zeros(1, 2, 4, 5, dtype=torch.bool)
    confident[0, :, :2] = True  # ten pixels each
    given[0, 0, 3, :3], given[0, 1, 3, :2] = True, True
    kept = Restore(share=0.25)(confident, given)
    assert kept.sum((2, 3)).tolist() == [[0, 10]]


@pytest.mark.parametrize("grid", [(4, 5), (3, 7), (16, 20), (1, 1)])
def test_area_shares(grid: tuple[int, int]) -> None:
    pixels = torch.rand(2, 3, *SIZE, generator=torch.Generator().manual_seed(0)) > 0.7
    shares = AreaShares()(pixels, grid)
    for image, slot in reference.places((2, 3)):
        expected = reference.area_shares(pixels[image, slot].numpy(), grid)
        np.testing.assert_allclose(shares[image, slot].numpy(), expected, atol=1e-6)


def test_a_class_without_a_majority_keeps_its_prototype_by_area() -> None:
    mask = np.zeros(SIZE, int)
    mask[5, 5:8] = 3  # three pixels of a cell of sixteen
    one = scene(wss_mask=mask)
    view, seeds = view_of(one), torch.from_numpy(mask)[None]
    by_area, by_majority = InterClass(AreaShares())(view, seeds), InterClass(MajorityShares())(view, seeds)
    assert by_area.present.tolist() == [[True, False, True]]
    assert by_majority.present.tolist() == [[True, False, False]]
    assert by_area.shares[0, 2, 1, 1] == pytest.approx(3 / 16)
    np.testing.assert_allclose(by_area.values[0, 2].numpy(), expected_map(one.uss, one.uss[:, 1, 1]), atol=1e-5)
    assert not by_majority.values[0, 2].any()
    assert torch.equal(by_majority.shares.sum(1), torch.ones(1, *GRID))


def test_prototypes_and_likeness() -> None:
    generator = torch.Generator().manual_seed(0)
    features, shares = torch.randn(2, 6, *GRID, generator=generator), torch.rand(2, 3, *GRID, generator=generator)
    shares[1, 2], shares[0, 0] = 0, shares[0, 0] / 100
    centres = prototypes_of(features, shares)
    maps = likeness(features, centres, torch.ones(2, 1, *GRID, dtype=torch.bool))
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
    maps = InterClass(AreaShares())(view_of(scene(uss=features, wss_mask=mask)), torch.from_numpy(mask)[None])
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
