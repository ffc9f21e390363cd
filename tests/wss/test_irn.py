"""IRN: sure labels, the loss of pairs, edges that are learnt, and the method as a whole on a tiny toy set."""

import itertools
import math
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from tiny import TRAIN, Tiny
from torch import Tensor
from torch.nn import functional

from dhr.backbone.resnet import ResNet
from dhr.core.errors import InputError
from dhr.core.labels import IGNORE
from dhr.core.sample import Batch, Sample
from dhr.core.window import Window
from dhr.crf.none import NoCrf
from dhr.disk.mask import read_mask
from dhr.runtime.signals import Stopped, stopping
from dhr.training.optimizer import AdamWithDecay
from dhr.training.stopping import StepSeeds
from dhr.wss.cam import CamRecipe, TagClassifier, activation_maps
from dhr.wss.irn import TINY, EdgeNetwork, IrnRecipe, confident_labels, mask_of, pair_loss, spread
from dhr.wss.random_walk import RandomWalk

OPTIMIZER = AdamWithDecay()
RECIPE = IrnRecipe(OPTIMIZER, RandomWalk(), reach=4)
WORDS = ("wss=irn", "wss.recipe.epochs=1")


def slow_pair_loss(edges: np.ndarray, labels: np.ndarray, reach: int, first_tag: int) -> float:
    """One pair after the other; every pair is met twice, which changes no mean."""
    kinds: dict[str, list[float]] = {"tag": [], "background": [], "apart": []}
    for b, (y, x), (v, u) in itertools.product(
        range(len(edges)), *[list(itertools.product(*map(range, edges.shape[1:])))] * 2
    ):
        down, right = v - y, u - x
        if (down, right) == (0, 0) or math.hypot(down, right) >= reach or IGNORE in {labels[b, y, x], labels[b, v, u]}:
            continue
        cells = itertools.product(range(min(y, v), max(y, v) + 1), range(min(x, u), max(x, u) + 1))
        length = math.hypot(down, right)
        line = [(p, q) for p, q in cells if abs(down * (q - x) - right * (p - y)) / length < 1]
        kin = 1 - max(edges[b, p, q] for p, q in line)
        if labels[b, y, x] != labels[b, v, u]:
            kinds["apart"].append(-math.log(1 - kin + TINY))
        else:
            kinds["tag" if labels[b, y, x] >= first_tag else "background"].append(-math.log(kin + TINY))
    tag, background, apart = (float(np.mean(losses)) if losses else 0.0 for losses in kinds.values())
    return (tag + background) / 4 + apart / 2


@pytest.mark.parametrize("first_tag", [0, 1])
@pytest.mark.parametrize("size", [(5, 6), (1, 4), (6, 1)])
def test_the_loss_is_that_of_all_pairs(size: tuple[int, int], first_tag: int) -> None:
    random = np.random.default_rng(3)
    edges, labels = random.uniform(0.05, 0.95, (2, *size)), random.choice([0, 1, 2, IGNORE], (2, *size))
    for reach in (2, 3, 9):
        found = pair_loss(torch.tensor(edges)[:, None], torch.tensor(labels), reach, first_tag=first_tag)
        assert float(found) == pytest.approx(slow_pair_loss(edges, labels, reach, first_tag), rel=1e-6)


def test_where_no_pair_is_known_there_is_nothing_to_learn() -> None:
    edges = torch.rand(1, 1, 4, 4, requires_grad=True)
    loss = pair_loss(edges, torch.full((1, 4, 4), IGNORE), 3, first_tag=1)
    loss.backward()
    assert float(loss.detach()) == 0 and edges.grad is not None and not edges.grad.any()


def test_sure_labels_by_hand() -> None:
    maps = torch.tensor([[[0.9, 0.31, 0.29, 0.06, 0.04]], [[0.0, 0.4, 0.0, 0.0, 0.0]], [[0.99] * 5]])
    tags, pixels = torch.tensor([1.0, 1.0, 0.0]), torch.zeros(3, 1, 5, dtype=torch.uint8)
    found = confident_labels(maps, tags, pixels, recipe=RECIPE, crf=NoCrf(), first_tag=1)
    assert found.dtype == torch.uint8 and found.tolist() == [[1, 2, IGNORE, IGNORE, 0]]
    maps[2] = 0  # maps of other classes are 0
    found = confident_labels(maps, tags, pixels, recipe=RECIPE, crf=NoCrf(), first_tag=0)
    assert found.dtype == torch.uint8 and found.tolist() == [[0, 1, IGNORE, IGNORE, IGNORE]]
    alone = torch.tensor([1.0, 0.0, 0.0])
    found = confident_labels(maps, alone, pixels, recipe=RECIPE, crf=NoCrf(), first_tag=0)
    assert found.tolist() == [[0, 0, IGNORE, IGNORE, IGNORE]]


def test_masks_by_hand() -> None:
    maps = torch.tensor([[[0.9, 0.2, 0.1]], [[0.0] * 3], [[0.3, 0.3, 0.2]]])
    tags, pixels = torch.tensor([1.0, 0.0, 1.0]), torch.zeros(3, 1, 3, dtype=torch.uint8)
    options: dict[str, Any] = {"crf": NoCrf(), "floor": 0.25}
    assert mask_of(maps, tags, pixels, first_tag=1, **options).tolist() == [[1, 3, 0]]
    assert mask_of(maps, tags, pixels, first_tag=0, **options).tolist() == [[0, 2, 2]]


def network(reach: int = 4) -> EdgeNetwork:
    torch.manual_seed(1)

    def backbone(*, trained: bool = False) -> ResNet:
        return ResNet("resnet18", output_stride=8, widths=(8, 16, 16, 16))

    classifier = TagClassifier(CamRecipe(backbone, OPTIMIZER, scales=(1.0, 0.5)), num_tags=2)
    return EdgeNetwork(IrnRecipe(OPTIMIZER, RandomWalk(), reach=reach), classifier, first_tag=1)


def two_halves() -> Sample:
    """Class 1 is bright, on the left; the right is dark background."""
    pixels, mask = torch.full((3, 48, 48), 40, dtype=torch.uint8), torch.zeros(48, 48, dtype=torch.uint8)
    pixels[..., :24], mask[:, :24] = 200, 1
    return Sample("a", pixels, torch.tensor([1.0, 0.0]), mask, Window.whole((48, 48)))


def test_edges_are_learnt_on_a_backbone_that_stays() -> None:
    model = network().train()
    assert not model.classifier.training and model.reduced.training
    model.log = lambda *_, **__: None  # type: ignore[method-assign, assignment]  # there is no trainer
    before = {name: value.clone() for name, value in model.classifier.state_dict().items()}
    batch = Batch.of([two_halves(), two_halves()], torch.device("cpu"))
    steps = torch.optim.Adam([each for each in model.parameters() if each.requires_grad], lr=1e-2)
    for _ in range(60):
        steps.zero_grad()
        model.training_step(batch, 0).backward()
        steps.step()
    edges = model.eval()(batch.image[:1]).sigmoid()[0, 0]
    assert edges.shape == (12, 12)
    border, inside = edges[:, 5:7].amax(1).mean(), torch.cat([edges[:, 1:4], edges[:, 8:11]], 1).mean()
    assert float(border.detach()) > 0.8 and float(inside.detach()) < 0.3
    after = model.classifier.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (1, 40), (40, 1), (1, 1)])
def test_images_of_every_size_are_spread(size: tuple[int, int]) -> None:
    model = network().eval()
    image = torch.randn(3, *size, generator=torch.Generator().manual_seed(1))
    maps = spread(model, image, torch.tensor([0.0, 1.0]))
    assert maps.shape == (2, *size) and not maps[0].any()
    assert bool(torch.isfinite(maps).all()) and float(maps.min()) >= 0
    assert float(maps.max()) in {0.0, 1.0}


def test_damping_keeps_what_lies_on_edges_out_of_the_walk() -> None:
    """Edges of 1/2 everywhere; what comes to the walk is written down."""
    model = network().eval()
    torch.nn.init.zeros_(model.edge.weight)
    torch.nn.init.zeros_(model.edge.bias)
    image, tags = torch.randn(3, 24, 24, generator=torch.Generator().manual_seed(2)), torch.tensor([1.0, 1.0])
    walked: list[Tensor] = []

    def walk(scores: Tensor, _: Tensor) -> Tensor:
        walked.append(scores)
        return scores

    model.recipe = replace(model.recipe, walk=cast(RandomWalk, walk))
    for damping in (0.0, 1.0, 2.0):
        model.recipe = replace(model.recipe, damping=damping)
        spread(model, image, tags)
    plain, once, twice = walked
    assert float(plain.max()) > 0
    torch.testing.assert_close(once, plain / 2)
    torch.testing.assert_close(twice, plain / 4)


@torch.no_grad()
def test_maps_are_spread_class_by_class_over_the_edges_of_both_views() -> None:
    """The reference takes one class after the other, and the walk and the maps of one view, which have their own."""
    model = network().eval()
    image = torch.randn(3, 30, 41, generator=torch.Generator().manual_seed(4))
    straight, mirrored = model(image[None])[0, 0], model(image.flip(-1)[None])[0, 0].flip(-1)
    edges = 1 / (1 + torch.exp(-(straight + mirrored) / 2))
    maps, walked = activation_maps(model.classifier, image, torch.ones(2)), []
    for each in maps:
        source = functional.interpolate(each[None, None], size=edges.shape, mode="bilinear") * (1 - edges)
        after = model.recipe.walk(source, edges[None, None])
        walked.append(functional.interpolate(after, size=(30, 41), mode="bilinear")[0, 0])
    highest = max(float(each.max()) for each in walked)
    assert highest > 0 and float(straight.sub(mirrored).abs().max()) > 1e-4
    torch.testing.assert_close(spread(model, image, torch.ones(2)), torch.stack(walked).clamp_min(0) / highest)


def test_an_empty_map_stays_empty() -> None:
    model = network().eval()
    torch.nn.init.zeros_(model.classifier.classifier.projection.weight)
    assert not spread(model, torch.randn(3, 20, 24), torch.tensor([1.0, 1.0])).any()


def content(folder: Path) -> dict[str, bytes]:
    """Masks and weights by their place; ledgers tell times."""
    kept = (path for path in folder.rglob("*") if path.suffix in {".png", ".safetensors"} or path.name == "recipe.json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in kept}


def of_irn(there: Tiny) -> Path:
    return there.wss.parent / "IRN"


@pytest.fixture(scope="module")
def made(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    there = tiny.copy(tmp_path_factory.mktemp("irn"))
    there.take_tags_away(there.layout.ids("train")[3])
    there.call("train_wss", *WORDS)
    return there


def test_the_whole_method(made: Tiny) -> None:
    ids = list(made.layout.ids("train"))
    masks = {image_id: read_mask(of_irn(made) / "train" / f"{image_id}.png") for image_id in ids}
    assert len(masks) == TRAIN and not masks[ids[3]].any()
    for folder, allowed in ((of_irn(made) / "train", {0}), (of_irn(made) / ".confident" / "train", {0, IGNORE})):
        for image_id in ids:
            tags = made.layout.tags("train", image_id).read_text()
            found = {*np.unique(read_mask(folder / f"{image_id}.png")).tolist()} - allowed
            assert len(found) <= tags.count("<object>")
    before = made.times()
    made.call("train_wss", *WORDS)
    after = made.times()
    assert [path for path in after if path.suffix != ".jsonl" and after[path] != before.get(path)] == []


@pytest.fixture
def kill(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """Lets a SIGTERM come after some masks were put into a folder, or in a step of the training."""
    put, begin, state = os.replace, StepSeeds.on_train_batch_start, {"place": "", "left": 0}

    def count(place: str) -> None:
        if place == state["place"]:
            state["left"] = int(state["left"]) - 1
            if state["left"] == 0:
                os.kill(os.getpid(), signal.SIGTERM)

    def replaced(source: Any, target: Any, **options: Any) -> None:
        put(source, target, **options)
        count(f"{Path(target).parent.parent.name}{Path(target).suffix}")

    def begun(self: StepSeeds, *arguments: Any) -> None:
        begin(self, *arguments)
        count("step")

    monkeypatch.setattr(os, "replace", replaced)
    monkeypatch.setattr(StepSeeds, "on_train_batch_start", begun)
    return lambda place, left: state.update(place=place, left=left)


@pytest.mark.slow
def test_a_call_that_was_ended_is_continued_to_the_same_files(
    made: Tiny, tmp_path: Path, kill: Callable[[str, int], None]
) -> None:
    there = made.copy(tmp_path)
    shutil.rmtree(of_irn(there))
    for place, left in ((".confident.png", 5), ("step", 2), ("IRN.png", 7)):
        kill(place, left)
        with pytest.raises(Stopped), stopping():
            there.call("train_wss", *WORDS)
    there.call("train_wss", *WORDS)
    assert content(of_irn(there)) == content(of_irn(made))


def test_what_it_starts_from_has_to_be_there(made: Tiny, tmp_path: Path) -> None:
    there = made.copy(tmp_path)
    shutil.rmtree(of_irn(there))
    for words, said in (
        (("wss.source=mars",), r"wss\.source: mars: has no tag classifier .* wss\.source=cam"),
        (("cam.backbone.widths=[8,16,32,32]",), r"classifier\.safetensors: does not fit this network"),
    ):
        with pytest.raises(InputError, match=said):
            there.call("train_wss", *WORDS, *words)
    (there.wss / "classifier.safetensors").unlink()
    with pytest.raises(InputError, match=r"classifier\.safetensors: .* missing; .*dhr\.train_wss dataset=toy wss=cam"):
        there.call("train_wss", *WORDS)
    assert not of_irn(there).exists()


def test_another_classifier_or_crf_is_no_continuation(made: Tiny, tmp_path: Path) -> None:
    there = made.copy(tmp_path)
    for words in (("crf.iterations=3",), ("cam.scales=[1.0]",), ("wss.recipe.foreground=0.4",)):
        with pytest.raises(InputError, match="made with other settings"):
            there.call("train_wss", *WORDS, *words)


def test_pairs_of_a_batch_are_those_of_its_crops() -> None:
    """Where a crop shows no image its mask is IGNORE, so nothing is learnt there."""
    edges: Tensor = torch.rand(2, 1, 6, 6, generator=torch.Generator().manual_seed(5))
    labels = torch.randint(0, 3, (2, 6, 6), generator=torch.Generator().manual_seed(6))
    padded = labels.clone()
    padded[:, :, 4:] = IGNORE
    changed = edges.clone()
    changed[..., 4:] = 0.5
    one, other = (pair_loss(each, padded, 3, first_tag=1) for each in (edges, changed))
    torch.testing.assert_close(one, other)
