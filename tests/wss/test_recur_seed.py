"""The labels that are certain, the maps that CAMs shall become and their loss, by hand."""

from typing import Any

import pytest
import torch
from torch import Tensor

from dhr.core.labels import IGNORE
from dhr.core.sample import Batch, NetworkOutput
from dhr.crf.pamr import Pamr
from dhr.wss.recur_seed import Look, reconstruction_loss, smoothed, unit_maps
from dhr.wss.self_correlation import SelfCorrelation

E = IGNORE


def look_at(
    tags: list[list[float]],
    *,
    width: int,
    shown: int | None = None,
    first_tag: int = 1,
    stride: int = 1,
    **maps: Tensor,
) -> Look:
    """Crops of `width` x `width` grey pixels, the right ones of which show nothing."""
    count, shown = len(tags), width if shown is None else shown
    batch = Batch(
        ids=tuple("abc"[:count]),
        pixels=torch.full((count, 3, width, width), 100, dtype=torch.uint8),
        tags=torch.tensor(tags),
        wss_mask=torch.full((count, width, width), IGNORE, dtype=torch.uint8),
        boxes=torch.tensor([[0, 0, width, shown]] * count),
        most_tags=max(int(sum(row)) for row in tags),
        whole=torch.ones(count, dtype=torch.bool),
    )
    none = torch.zeros(count, 1, 2, 2)
    output = NetworkOutput(**{"logits": none, "cams": none, "features": (none, none), **maps})  # type: ignore[arg-type]
    return Look(batch, output, first_tag=first_tag, stride=stride)


VALUES = [[0.54, 0.55, 0.9, 0.10], [0.0, 0.6, 0.7, 0.11]]


@pytest.mark.parametrize(("first_tag", "due"), [(1, [E, 3, 1, E]), (0, [E, 2, 0, E])])
def test_the_certain_filter(first_tag: int, due: list[int]) -> None:
    """Tags 0 and 2: thresholds count as reached, the larger map wins."""
    look = look_at([[1.0, 0.0, 1.0]], width=4, first_tag=first_tag)
    seeds = torch.tensor(VALUES)[None, :, None].expand(1, 2, 4, 4)
    labels = look.certain(seeds, foreground=0.55, background=0.10)
    assert labels[0, 0].tolist() == due


def test_what_is_certainly_background() -> None:
    """It needs a background class, and an image: the last column shows none."""
    seeds = torch.tensor([0.09, 0.10, 0.2, 0.0]).expand(1, 1, 4, 4)
    labelled = [
        look_at([[1.0]], width=4, shown=3, first_tag=first_tag).certain(seeds, foreground=0.55, background=0.10)
        for first_tag in (1, 0)
    ]
    assert [labels[0, 0].tolist() for labels in labelled] == [[0, 0, E, E], [E, E, E, E]]


@pytest.mark.parametrize(("right", "due"), [(100, [2] * 7 + [E] * 2 + [0] * 6 + [E]), (200, [2] * 8 + [0] * 7 + [E])])
def test_edges_that_the_image_has_not_are_uncertain(right: int, due: list[int]) -> None:
    """One step of PAMR mixes both sides of an edge on even grey; three of eight neighbours lie beyond it."""
    logits = torch.zeros(1, 3, 16, 16)
    logits[:, 2, :, :8], logits[:, 0, :, 8:] = 20.0, 20.0
    logits[:, 1] = 15.0  # of a class that no tag names
    look = look_at([[0.0, 1.0]], width=16, shown=15, logits=logits)
    pixels = look.batch.pixels.clone()
    pixels[..., 8:] = right
    look.field = Pamr(1, (1,)).on(pixels, look.batch.valid)
    assert look.edge_predicted(0.8)[0].unique(dim=0).tolist() == [due]


def test_pamr_of_maps_is_that_of_each_map_alone() -> None:
    """A map and what it leaves of 1 are a distribution, on which PAMR is defined."""
    torch.manual_seed(0)
    field = Pamr(2, (1, 2)).on(torch.randint(0, 256, (2, 3, 6, 7), dtype=torch.uint8), torch.ones(2, 6, 7) > 0)
    maps = torch.rand(2, 3, 6, 7)
    alone = [field(torch.stack([one, 1 - one], 1), torch.ones(2, 2) > 0)[:, 0] for one in maps.unbind(1)]
    torch.testing.assert_close(smoothed(field, maps), torch.stack(alone, 1))


def test_seeds_cover_what_looks_like_the_cells_of_the_cam() -> None:
    features = torch.zeros(1, 2, 4, 4)
    features[0, 0, :, :2], features[0, 1, :, 2:] = 1.0, 1.0
    cams = torch.zeros(1, 3, 2, 2)
    cams[0, 2, 0, 0] = 5.0
    look = look_at([[0.0, 0.0, 1.0]], width=16, stride=4, cams=cams, features=(features, features))
    look.field = Pamr(0).on(torch.zeros(1, 3, 4, 4, dtype=torch.uint8), torch.ones(1, 4, 4) > 0)
    seeds = look.seeds(SelfCorrelation())
    assert seeds.shape == (1, 1, 4, 4) and seeds[0, 0, :, :2].min() > 0.9 and not seeds[0, 0, :, 2:].any()
    maps = look.on_cams(seeds)
    assert maps.shape == cams.shape and not maps[:, :2].any()
    torch.testing.assert_close(
        maps[0, 2], torch.tensor([[float(seeds[0, 0, :2, :2].mean()), 0.0]] * 2), atol=0.1, rtol=0
    )


def test_a_cam_of_zeros_seeds_nothing() -> None:
    features = torch.rand(1, 2, 4, 4)
    look = look_at([[1.0]], width=16, stride=4, cams=torch.full((1, 1, 4, 4), -1.0), features=(features, features))
    assert not look.seeds(SelfCorrelation()).any()


@pytest.mark.parametrize("first_tag", [0, 1])
def test_an_empty_slot_adds_nothing(first_tag: int) -> None:
    look = look_at([[1.0, 1.0], [0.0, 1.0]], width=4, first_tag=first_tag, cams=torch.zeros(2, 2, 1, 1))
    maps = look.on_cams(torch.tensor([[0.2, 0.4], [0.6, 0.8]])[..., None, None].expand(2, 2, 4, 4))
    torch.testing.assert_close(maps[..., 0, 0], torch.tensor([[0.2, 0.4], [0.0, 0.6]]))


def test_the_reconstruction_loss_by_hand() -> None:
    """Tag 0 is (1, .5, 0), its seed (.7 / .8, 1, 0), each divided by its maximum; the others do not count."""
    cams = torch.tensor([[[[4.0, 2.0, 90.0]], [[1.0, 0.0, 0.0]]]], requires_grad=True)
    seeds = torch.tensor([[[[0.7, 0.8, 0.9]], [[0.0, 1.0, 1.0]]]])
    loss = reconstruction_loss(cams, seeds, torch.tensor([[[True, True, False]]]), torch.tensor([[1.0, 0.0]]))
    assert float(loss.detach()) == pytest.approx((0.125 + 0.5) / 2)
    loss.backward()
    # The maximum is taken as a number: 1 / 4 of a cell is what a CAM changes it by, and half of that the mean.
    gradient: Any = cams.grad
    torch.testing.assert_close(gradient, torch.tensor([[[[0.125, -0.125, 0.0]], [[0.0, 0.0, 0.0]]]]))


def test_cams_that_learn_their_own_seeds_do_not_shrink() -> None:
    """An object of 6 x 6 of 12 x 12 cells stays one, however often PAMR lowers its peak."""
    torch.manual_seed(0)
    inside = torch.zeros(12, 12, dtype=torch.bool)
    inside[3:9, 3:9] = True
    features = torch.stack([inside, ~inside]).float()[None] + 0.2 * torch.randn(1, 2, 12, 12)
    cams = (inside * (1 + 4 * torch.rand(12, 12)))[None, None].clone().requires_grad_()
    descent = torch.optim.SGD([cams], lr=30.0)
    for _ in range(60):
        look = look_at([[1.0]], width=48, stride=4, cams=cams.detach(), features=(features, features))
        maps = look.on_cams(look.seeds(SelfCorrelation()))
        descent.zero_grad()
        reconstruction_loss(cams, maps, look.batch.valid, look.batch.tags).backward()
        descent.step()
    learnt = unit_maps(cams.detach(), torch.ones(1, 12, 12) > 0)[0, 0]
    assert float((learnt[inside] > 0.5).float().mean()) > 0.9 and float(learnt[~inside].mean()) < 0.2


def test_a_cam_that_is_nowhere_positive_is_no_map() -> None:
    assert not unit_maps(torch.full((1, 1, 2, 2), -3.0), torch.ones(1, 2, 2) > 0).any()
