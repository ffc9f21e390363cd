"""The rebalancer: equal to loops over one image, the same alone and in a batch, and its edge cases."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import reference
import torch
from crops import GRID, SIZE, TAGS, crop, stack
from reference import IGNORE, Crop

from dhr.config.compose import compose
from dhr.config.parts import build
from dhr.config.tree import options
from dhr.core.sample import NetworkOutput
from dhr.crf.none import NoCrf
from dhr.crf.pydensecrf import PyDenseCrf
from dhr.rebalancing.inter_class import InterClass
from dhr.rebalancing.intra_class import ConnectedGroups, IntraClass, NoIntraClass
from dhr.rebalancing.prototypes import AreaShares, MeanFeature
from dhr.rebalancing.rebalancer import Rebalancer, Relabelled, SeedOnly
from dhr.rebalancing.refine import AreaMass, FinalTransport, Refine
from dhr.rebalancing.seed import NoSeeds, Overwrite, Seeds
from dhr.rebalancing.transport import Transport
from dhr.rebalancing.view import CropEvidence, View

METHODS = [name for name in options("rebalancing") if name != "none"]


@cache
def method(name: str, first_tag: int = 1) -> Rebalancer | SeedOnly:
    """What a training with `rebalancing=<name>` uses, without its CRF."""
    node = compose("train", [f"rebalancing={name}"]).rebalancing.rebalancer
    return build(node, first_tag=first_tag, crf=NoCrf())


def explicit(first_tag: int, *, power: float = 0.0) -> Rebalancer:
    """The whole method, written out."""
    return Rebalancer(
        first_tag=first_tag,
        crf=NoCrf(),
        evidence=CropEvidence(),
        seed=Seeds(Transport(), Overwrite()),
        inter_class=InterClass(AreaShares(), MeanFeature()),
        intra_class=IntraClass(ConnectedGroups(tau=0.8), Transport()),
        refine=Refine(FinalTransport(Transport(), AreaMass(power))),
    )


def relabel(name: str, crops: list[Crop], first_tag: int = 1) -> Relabelled:
    return method(name, first_tag)(*stack(crops))


@pytest.mark.parametrize("power", [0.0, 0.5])
@pytest.mark.parametrize("first_tag", [0, 1])
def test_equals_the_loops(first_tag: int, power: float) -> None:
    crops = [crop(number, first_tag) for number in range(18)]
    result = explicit(first_tag, power=power)(*stack(crops))
    for number, one in enumerate(crops):
        expected = reference.relabel(one, first_tag=first_tag, power=power)
        assert (result.seeds[number].numpy() == expected.seeds).all(), number
        assert (result.pseudo_mask[number].numpy() == expected.pseudo_mask).all(), number


@pytest.mark.parametrize("first_tag", [0, 1])
def test_heat_maps_equal_the_loops(first_tag: int) -> None:
    crops = [crop(number, first_tag) for number in range(12)]
    batch, output = stack(crops)
    dhr = explicit(first_tag)
    view = dhr.evidence(View.of(batch, output, first_tag=first_tag))
    seeds = dhr.seed(view, dhr.crf.on(view.pixels, view.valid[:, 0]))
    maps = dhr.intra_class(view, dhr.inter_class(view, seeds))
    for number, one in enumerate(crops):
        expected = reference.relabel(one, first_tag=first_tag)
        assert view.slots.index[number][maps.present[number]].tolist() == expected.classes
        np.testing.assert_allclose(maps.values[number][maps.present[number]].numpy(), expected.heatmaps, atol=2e-4)
        assert not maps.values[number][~maps.present[number]].any()


@pytest.mark.parametrize("first_tag", [0, 1])
@pytest.mark.parametrize("name", METHODS)
def test_a_batch_equals_one_by_one(name: str, first_tag: int) -> None:
    crops = [crop(number, first_tag) for number in range(6)]
    together = relabel(name, crops, first_tag)
    for number, one in enumerate(crops):
        alone = relabel(name, [one], first_tag)
        assert torch.equal(together.seeds[number], alone.seeds[0])
        assert torch.equal(together.pseudo_mask[number], alone.pseudo_mask[0])


@pytest.mark.parametrize("first_tag", [0, 1])
@pytest.mark.parametrize("name", METHODS)
def test_labels_are_tags_and_fill_the_valid_box(name: str, first_tag: int) -> None:
    crops = [crop(number, first_tag) for number in range(12)]
    result = relabel(name, crops, first_tag)
    for one, seeds, pseudo_mask in zip(crops, result.seeds.numpy(), result.pseudo_mask.numpy(), strict=True):
        allowed = {*(np.flatnonzero(one.tags) + first_tag)} | ({0} if first_tag else set())
        assert {*pseudo_mask[one.valid]} <= allowed | {IGNORE}
        if name != "seed_only" and {*seeds[one.valid]} & allowed:
            assert ((pseudo_mask == IGNORE) == ~one.valid).all()
        written = {*seeds[one.valid & (seeds != one.wss_mask)]}
        # CAMs know no background, the network's answer does; what is left open belongs to no class.
        assert written <= (allowed | {IGNORE}) - ({0} if first_tag and name != "answer" else set())
        assert (seeds[~one.valid] == IGNORE).all()


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    "change",
    [
        {"cams": np.zeros((TAGS, 3, 4))},
        {"cams": np.full((TAGS, 3, 4), 3.0)},
        {"cams": np.full((TAGS, 3, 4), -3.0)},
        {"uss": np.ones((6, *GRID))},
        {"uss": np.zeros((6, *GRID)), "c4": np.zeros((4, 5, 6)), "c5": np.zeros((3, 3, 4))},
        {"uss": np.ones((6, 1, 1)), "c4": np.ones((4, 1, 1)), "c5": np.ones((3, 1, 1)), "cams": np.ones((TAGS, 1, 1))},
        {"tags": np.zeros(TAGS, bool)},
        {"tags": np.eye(TAGS, dtype=bool)[0]},
        {"wss_mask": np.full(SIZE, IGNORE)},
        {"valid": np.zeros(SIZE, bool), "wss_mask": np.full(SIZE, IGNORE)},
    ],
)
@pytest.mark.parametrize("first_tag", [0, 1])
def test_edge_cases_are_labelled(name: str, change: dict[str, np.ndarray], first_tag: int) -> None:
    one = replace(crop(0, first_tag), **change)
    batch, output = stack([one, one], torch.float16)
    result = method(name, first_tag)(batch, output)  # a NaN would be refused by the CRF
    labels = result.pseudo_mask[0].numpy()
    assert (labels[~one.valid] == IGNORE).all()
    given = {*one.wss_mask.flatten()} if name == "seed_only" else {IGNORE}
    assert {*labels.flatten()} <= {*(np.flatnonzero(one.tags) + first_tag), *([0] if first_tag else []), *given}
    if name == "dhr" and first_tag and "wss_mask" not in change:
        assert (labels[one.valid] != IGNORE).all()


def test_a_box_that_holds_no_centre_of_a_cell_has_no_label() -> None:
    valid = np.zeros(SIZE, bool)
    valid[5:13, 7:10] = True
    one = crop(0)
    thin = replace(one, valid=valid, wss_mask=np.where(valid, one.wss_mask, IGNORE))
    assert bool((explicit(1)(*stack([thin, one])).pseudo_mask[0] == IGNORE).all())


def test_a_crop_without_believed_tags_has_no_label_where_there_is_no_background() -> None:
    one = replace(crop(0, 0), cams=np.full((TAGS, 3, 4), -1.0), wss_mask=np.full(SIZE, IGNORE))
    result = relabel("dhr", [one, crop(2, 0)], 0)
    assert bool((result.pseudo_mask[0] == IGNORE).all())
    assert torch.equal(result.pseudo_mask[1], relabel("dhr", [crop(2, 0)], 0).pseudo_mask[0])


@pytest.mark.parametrize("name", METHODS)
def test_no_gradient_flows(name: str) -> None:
    batch, output = stack([crop(0), crop(2)])
    leaves = [tensor.requires_grad_() for tensor in (output.logits, output.cams, *output.features)]
    result = method(name)(batch, NetworkOutput(leaves[0], leaves[1], (leaves[2], leaves[3])))
    assert not result.pseudo_mask.requires_grad
    assert not result.seeds.requires_grad


def siblings() -> tuple[Crop, np.ndarray]:
    """A large class 1 beside a small class 2: alike for the USS, apart in C4, C5 and CAMs; the WSS mask has lost 2."""
    truth = np.zeros((8, 8), int)
    truth[2:7, 1:5], truth[2:7, 5:7] = 1, 2
    rng = np.random.default_rng(0)
    own, shared = np.eye(3)[truth].transpose(2, 0, 1), np.eye(2)[np.minimum(truth, 1)].transpose(2, 0, 1)
    wide = np.kron(truth, np.ones((4, 4), int))
    one = Crop(
        tags=np.ones(2, bool),
        cams=6 * own[1:] - 0.5 + rng.normal(0, 0.3, (2, 8, 8)),
        uss=shared + rng.normal(0, 0.05, (2, 8, 8)),
        c4=own + rng.normal(0, 0.2, (3, 8, 8)),
        c5=own + rng.normal(0, 0.2, (3, 8, 8)),
        wss_mask=np.minimum(wide, 1),
        valid=np.ones((32, 32), bool),
        logits=4 * own + rng.normal(0, 0.3, (3, 8, 8)),
    )
    return one, wide


def iou(relabelled: Relabelled, truth: np.ndarray) -> list[float]:
    return reference.scores([(relabelled.pseudo_mask[0].numpy(), truth)], 3)["iou"].tolist()


@pytest.mark.parametrize("power", [0.0, 0.5])
@pytest.mark.parametrize("crf", [NoCrf(), PyDenseCrf(workers=0, bilateral_sxy=8, bilateral_srgb=13)])
def test_a_swallowed_class_comes_back(crf: NoCrf | PyDenseCrf, power: float) -> None:
    one, truth = siblings()
    batch, output = stack([one])
    colours = torch.tensor([[30, 40, 50], [200, 60, 60], [200, 120, 60]], dtype=torch.uint8)
    batch = replace(batch, pixels=colours[torch.from_numpy(truth)].permute(2, 0, 1)[None])
    dhr = replace(explicit(1, power=power), crf=crf)
    assert min(iou(dhr(batch, output), truth)) > 0.95
    unseeded = iou(replace(dhr, seed=NoSeeds())(batch, output), truth)
    assert unseeded[2] == 0
    assert unseeded[1] < 0.7


def test_siblings_are_told_apart_by_the_networks_own_features() -> None:
    one, truth = siblings()
    batch, output = stack([one])
    assert iou(explicit(1)(batch, output), truth)[2] > 0.95
    assert iou(replace(explicit(1), intra_class=NoIntraClass())(batch, output), truth)[2] < 0.5
