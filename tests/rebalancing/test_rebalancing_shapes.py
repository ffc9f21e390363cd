"""What every part of the rebalancer promises: shape, type, place and range of its result; its inputs stay as given."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any

import hydra
import pytest
import torch
from omegaconf import DictConfig
from torch import Tensor

from dhr.config.parts import build
from dhr.config.tree import opened, options
from dhr.core.labels import IGNORE
from dhr.core.sample import Batch, NetworkOutput
from dhr.crf.none import NoCrf
from dhr.rebalancing.inter_class import Heatmaps
from dhr.rebalancing.view import View

TAGS, SIZE, GRID = 3, (13, 17), (3, 5)
IMAGES = {"no tags": [0, 0, 0], "one tag": [0, 1, 0], "all tags": [1, 1, 1]}
BATCHES = [["no tags"], ["one tag"], ["all tags"], ["no tags", "all tags", "one tag"]]
VALUES = "+tau=0.8", "+dataset.mass_power=0.5", "+dataset.rebalancing_start=0"  # what the files take from elsewhere

pytestmark = [pytest.mark.parametrize("first_tag", [0, 1]), pytest.mark.parametrize("images", BATCHES, ids=", ".join)]


@cache
def node(name: str) -> DictConfig:
    """What configs/rebalancing/<name>.yaml builds."""
    with opened("shapes"):
        found = hydra.compose(f"rebalancing/{name}", list(VALUES)).rebalancing
    return found.rebalancer if "rebalancer" in found else found[name.partition("/")[0]]


@cache
def part(name: str, **given: Any) -> Any:
    """The object of configs/rebalancing/<name>.yaml."""
    return build(node(name), **given)


def parts(group: str) -> list[str]:
    return [f"{group}/{name}" for name in options(f"rebalancing/{group}")]


def batch_of(images: list[str], first_tag: int, dtype: torch.dtype = torch.float32) -> tuple[Batch, NetworkOutput]:
    """Crops of odd sizes. The first shows image everywhere, the second in a part, the third nowhere."""
    count, random = len(images), torch.Generator().manual_seed(len(images))
    tags = torch.tensor([IMAGES[name] for name in images]).float()
    mask = torch.randint(TAGS + first_tag, (count, *SIZE), generator=random)
    boxes = torch.tensor([[0, 0, *SIZE], [2, 3, 9, 11], [0, 0, 0, 0]])[:count]
    batch = Batch(
        ids=tuple(images),
        pixels=torch.randint(256, (count, 3, *SIZE), generator=random).to(torch.uint8),
        tags=tags,
        wss_mask=mask.masked_fill(mask == TAGS - 1, IGNORE).to(torch.uint8),
        boxes=boxes,
        most_tags=int(tags.sum(1).max()),
        whole=torch.tensor([True, False, False])[:count],
    ).with_features(torch.randn(count, 6, *GRID, generator=random).to(dtype))
    c4, c5 = (torch.randn(count, depth, 3, 4, generator=random).to(dtype) for depth in (4, 2))
    logits = torch.randn(count, TAGS + first_tag, 7, 9, generator=random).to(dtype)
    return batch, NetworkOutput(logits, torch.randn(count, TAGS, 5, 3, generator=random).to(dtype), (c4, c5))


def view_of(images: list[str], first_tag: int) -> View:
    return View.of(*batch_of(images, first_tag), first_tag=first_tag)


def heatmaps_of(view: View) -> Heatmaps:
    """Heat maps with some classes that have no cell."""
    return part("inter_class/pure")(view, view.wss_mask)


def tensors(value: Any) -> Iterator[Tensor]:
    """All tensors in a value, those of its attributes and items too."""
    if isinstance(value, Tensor):
        yield value
    elif is_dataclass(value):
        yield from tensors([getattr(value, each.name) for each in fields(value)])
    elif isinstance(value, tuple | list):
        for each in value:
            yield from tensors(each)


def unchanged(call: Any, *given: Any) -> Any:
    """What the call returns; its arguments must be after it as they were before, and no result may be NaN."""
    before = [each.clone() for each in tensors(given)]
    result = call(*given)
    assert all(map(torch.equal, before, tensors(given)))
    assert {each.device for each in tensors(result)} == {each.device for each in before}
    assert not any(each.isnan().any() for each in tensors(result))
    return result


def check_unit(values: Tensor, shape: tuple[int, ...]) -> None:
    """Float32 of this shape, in [0,1]."""
    assert (values.shape, values.dtype) == (shape, torch.float32)
    assert ((values >= 0) & (values <= 1)).all()


def check_labels(mask: Tensor, batch: Batch, first_tag: int, *, given: bool) -> None:
    """(B,H,W) int64 of the classes that the tags allow and IGNORE, and of what the WSS mask has, if `given`."""
    assert (mask.shape, mask.dtype) == ((len(batch.ids), *SIZE), torch.int64)
    for labels, tags, rough in zip(mask, batch.tags, batch.wss_mask.long(), strict=True):
        allowed = {IGNORE, *range(first_tag), *(tags.nonzero()[:, 0] + first_tag).tolist()}
        assert {*labels.unique().tolist()} <= allowed | ({*rough.unique().tolist()} if given else set())


def check_heatmaps(maps: Heatmaps, view: View) -> None:
    count, slots = view.slots.index.shape
    check_unit(maps.values, (count, slots, *GRID))
    check_unit(maps.shares, (count, slots, *GRID))
    check_unit(maps.closeness, (count, slots, slots))
    assert (maps.present.shape, maps.present.dtype) == ((count, slots), torch.bool)
    assert not (maps.present & ~view.slots.present).any()
    for values in (maps.values, maps.shares):
        assert not values[~maps.present].any()
        assert not (values * ~view.cells).any()


def test_the_view(images: list[str], first_tag: int) -> None:
    batch, output = batch_of(images, first_tag)
    view = unchanged(lambda *given: View.of(*given, first_tag=first_tag), batch, output)
    count, slots = len(images), max(batch.most_tags, 1) + 1
    assert view.slots.index.shape == view.slots.present.shape == (count, slots)
    assert view.slots.tag.shape == (count, slots - 1)
    assert view.cams.shape == (count, slots - 1, *output.cams.shape[2:])
    check_unit(view.probabilities, (count, slots, *output.logits.shape[2:]))
    assert view.uss_features.shape == (count, 6, *GRID)
    assert [each.shape for each in view.wss_features] == [(count, depth, *GRID) for depth in (4, 2)]
    assert (view.wss_mask.shape, view.wss_mask.dtype) == ((count, *SIZE), torch.int64)
    assert (view.valid.shape, view.cells.shape, view.whole.shape) == ((count, 1, *SIZE), (count, 1, *GRID), (count,))
    assert {each.dtype for each in (view.valid, view.cells, view.whole, view.slots.present)} == {torch.bool}
    answer = unchanged(lambda one: one.answer(SIZE), view)
    check_unit(answer.clamp_max(1), (count, slots, *SIZE))
    torch.testing.assert_close(answer.sum(1), view.slots.present.any(1)[:, None, None].expand(-1, *SIZE).float())


@pytest.mark.parametrize("name", parts("evidence"))
def test_evidence_takes_tags_away_and_nothing_else(name: str, images: list[str], first_tag: int) -> None:
    view = view_of(images, first_tag)
    believed = unchanged(part(name), view)
    before, after = view.slots.present, believed.slots.present
    assert (after.shape, after.dtype) == (before.shape, torch.bool)
    assert not (after & ~before).any()
    assert torch.equal(after[:, 0], before[:, 0])
    others = [[each for each in tensors(one) if each is not one.slots.present] for one in (view, believed)]
    assert all(map(torch.equal, *others))


@pytest.mark.parametrize("name", parts("seed"))
def test_seeds_are_masks(name: str, images: list[str], first_tag: int) -> None:
    batch, output = batch_of(images, first_tag)
    view = View.of(batch, output, first_tag=first_tag)
    field = NoCrf().on(view.pixels, view.valid[:, 0])
    seeds = unchanged(part(name), view, field)
    check_labels(seeds, batch, first_tag, given=True)
    outside = ~view.valid[:, 0]
    assert ((seeds == view.wss_mask) | (seeds == IGNORE))[outside].all()


@pytest.mark.parametrize("name", parts("inter_class"))
def test_inter_class_gives_heat_maps(name: str, images: list[str], first_tag: int) -> None:
    view = view_of(images, first_tag)
    check_heatmaps(unchanged(part(name), view, view.wss_mask), view)


@pytest.mark.parametrize("name", parts("intra_class"))
def test_intra_class_lowers_heat_maps(name: str, images: list[str], first_tag: int) -> None:
    view = view_of(images, first_tag)
    maps = heatmaps_of(view)
    moved = unchanged(part(name), view, maps)
    check_heatmaps(moved, view)
    assert (moved.values <= maps.values).all()
    assert all(map(torch.equal, *(tuple(tensors(each))[1:] for each in (maps, moved))))


@pytest.mark.parametrize("name", parts("final"))
def test_the_final_step_gives_maps(name: str, images: list[str], first_tag: int) -> None:
    view = view_of(images, first_tag)
    maps = heatmaps_of(view)
    values = unchanged(part(name), maps, view.cells)
    check_unit(values, (*maps.present.shape, *GRID))
    assert not values[~maps.present].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", [name for name in options("rebalancing") if name != "none"])
def test_every_method_gives_masks(name: str, images: list[str], first_tag: int, dtype: torch.dtype) -> None:
    batch, output = batch_of(images, first_tag, dtype)
    result = unchanged(part(name, first_tag=first_tag, crf=NoCrf()), batch, output)
    check_labels(result.seeds, batch, first_tag, given=True)
    check_labels(result.pseudo_mask, batch, first_tag, given=name == "seed_only")
    if name != "seed_only":
        assert (result.pseudo_mask[~batch.valid] == IGNORE).all()
