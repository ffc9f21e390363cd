"""Contracts that every option of a group keeps; new options are found by their YAML file."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from written import written

from dhr.config.compose import compose
from dhr.config.parts import build
from dhr.config.tree import options
from dhr.core.labels import IGNORE
from dhr.core.sample import Batch, LoadedBatch, NetworkOutput, Sample
from dhr.core.window import Window
from dhr.crf.interface import Crf
from dhr.crf.none import NoCrf
from dhr.dataset.classes import ClassTable, load_classes

ROOT = Path(__file__).resolve().parents[2]
SIDE, GRID = 32, (8, 8)


@cache
def composed(*words: str) -> Any:
    return compose("train", list(words))


RELABELLING = [name for name in options("rebalancing") if written("rebalancing", name)["rebalancer"] is not None]


def crf_of(option: str) -> Crf:
    """An option of the group `crf`, computed in this process where it would start others."""
    node = composed(f"crf={option}").crf.copy()
    if "workers" in node:
        node.workers = 0
    return build(node)


# Rebalancing


def batch_of(table: ClassTable) -> Batch:
    """Two crops of the kinds that occur: one whole with three tags, one padded with one tag, masks with 255 in them."""
    generator = torch.Generator().manual_seed(3)
    windows = (Window.whole((SIDE, SIDE)), Window((20, SIDE), True, (0, 0, 20, SIDE), (5, 0), (SIDE, SIDE)))
    samples = []
    for number, (window, chosen) in enumerate(zip(windows, ([0, 1, 2], [1]), strict=True)):
        tags = torch.zeros(table.num_tags)
        tags[chosen] = 1
        labels = torch.tensor([*range(table.first_tag), *(tag + table.first_tag for tag in chosen[:2]), IGNORE])
        mask = labels[torch.randint(0, len(labels), (SIDE // 8, SIDE // 8), generator=generator)]
        mask = mask.repeat_interleave(8, 0).repeat_interleave(8, 1).to(torch.uint8)
        pixels = torch.randint(0, 256, (3, SIDE, SIDE), dtype=torch.uint8, generator=generator)
        features = torch.randn(6, *GRID, generator=generator) * window.valid_cells(GRID)
        samples.append(
            Sample(
                id=str(number), pixels=pixels, tags=tags, window=window, stored_features=window.on_map(features, GRID),
                wss_mask=mask.masked_fill(~window.valid(), IGNORE),
            )
        )  # fmt: skip
    return LoadedBatch.stack(samples).ready()


def output_of(table: ClassTable) -> NetworkOutput:
    generator = torch.Generator().manual_seed(4)
    features = tuple(torch.randn(2, depth, 4, 4, generator=generator) for depth in (5, 7))
    cams = torch.randn(2, table.num_tags, 4, 4, generator=generator).requires_grad_()
    logits = torch.randn(2, table.num_classes, 8, 8, generator=generator)
    return NetworkOutput(logits=logits, cams=cams, features=(features[0], features[1]))


@pytest.mark.parametrize("dataset", ["toy", "ade"])
@pytest.mark.parametrize("option", RELABELLING)
def test_rebalancing_gives_labels_of_the_tags(option: str, dataset: str) -> None:
    cfg, table = composed(f"rebalancing={option}"), load_classes(dataset)
    rebalancer = build(cfg.rebalancing.rebalancer, first_tag=table.first_tag, crf=NoCrf())
    batch, before = batch_of(table), batch_of(table)
    labels, again = rebalancer(batch, output_of(table)), rebalancer(batch, output_of(table))
    for mask, repeated in ((labels.seeds, again.seeds), (labels.pseudo_mask, again.pseudo_mask)):
        assert mask.shape == (2, SIDE, SIDE) and not mask.is_floating_point() and not mask.requires_grad
        assert torch.equal(mask, repeated)
        assert bool((mask[~batch.valid] == IGNORE).all())
        for each, tags in zip(mask, batch.tags, strict=True):
            allowed = {*range(table.first_tag), *(tags.nonzero()[:, 0] + table.first_tag).tolist(), IGNORE}
            assert set(each.unique().tolist()) <= allowed
    assert torch.equal(batch.wss_mask, before.wss_mask) and torch.equal(batch.pixels, before.pixels)


@pytest.mark.parametrize("option", RELABELLING)
def test_rebalancing_of_one_crop_does_not_depend_on_its_neighbours(option: str) -> None:
    cfg, table = composed(f"rebalancing={option}"), load_classes("toy")
    rebalancer = build(cfg.rebalancing.rebalancer, first_tag=table.first_tag, crf=NoCrf())
    both = rebalancer(batch_of(table), output_of(table)).pseudo_mask
    alone = rebalancer(*second_of(batch_of(table), output_of(table))).pseudo_mask
    assert torch.equal(alone[0], both[1])


def second_of(batch: Batch, output: NetworkOutput) -> tuple[Batch, NetworkOutput]:
    features = batch.uss_features
    assert features is not None
    alone = Batch(
        ids=batch.ids[1:], pixels=batch.pixels[1:], tags=batch.tags[1:],
        wss_mask=batch.wss_mask[1:], boxes=batch.boxes[1:],
        most_tags=int(batch.tags[1:].sum(1).max()), whole=batch.whole[1:], uss_features=features[1:],
    )  # fmt: skip
    c4, c5 = output.features
    return alone, NetworkOutput(logits=output.logits[1:], cams=output.cams[1:], features=(c4[1:], c5[1:]))


# CRF


def crf_input() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Three images: three classes, two in a box, one alone."""
    generator = torch.Generator().manual_seed(1)
    probabilities = torch.rand(3, 3, 12, 16, generator=generator)
    pixels = torch.randint(0, 256, (3, 3, 12, 16), dtype=torch.uint8, generator=generator)
    valid = torch.ones(3, 12, 16, dtype=torch.bool)
    valid[1, :4], valid[1, :, 13:] = False, False
    present = torch.tensor([[True, True, True], [True, False, True], [False, True, False]])
    return probabilities, pixels, valid, present


@pytest.mark.parametrize("option", options("crf"))
def test_crfs_give_distributions_over_the_present_classes(option: str) -> None:
    crf = crf_of(option)
    probabilities, pixels, valid, present = crf_input()
    marginals = crf.on(pixels, valid)(probabilities.clone(), present)
    assert marginals.shape == probabilities.shape and bool(torch.isfinite(marginals).all())
    torch.testing.assert_close(marginals.sum(1), valid.float(), atol=1e-4, rtol=0)
    assert bool((marginals >= 0).all())
    assert not bool((marginals * ~present[:, :, None, None]).any())
    assert torch.equal(crf.on(pixels, valid)(probabilities, present), marginals)
    for number in range(3):
        one = slice(number, number + 1)
        alone = crf.on(pixels[one], valid[one])(probabilities[one], present[one])
        torch.testing.assert_close(alone[0], marginals[number])


@pytest.mark.parametrize("option", options("crf"))
def test_crfs_do_not_prefer_a_channel(option: str) -> None:
    crf = crf_of(option)
    probabilities, pixels, valid, present = crf_input()
    order = [2, 0, 1]
    turned = crf.on(pixels, valid)(probabilities[:, order], present[:, order])
    expected = crf.on(pixels, valid)(probabilities, present)[:, order]
    torch.testing.assert_close(turned, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("option", options("crf"))
@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -0.1])
def test_crfs_refuse_what_is_no_probability(option: str, wrong: float) -> None:
    probabilities, pixels, valid, present = crf_input()
    probabilities[0, 1, 2, 3] = wrong
    with pytest.raises(ValueError, match="NaN, infinite or negative"):
        crf_of(option).on(pixels, valid)(probabilities, present)


# Optimizers


# That of EoMT has a rate for every block of a transformer: tests/training/test_layer_decay.py
@pytest.mark.parametrize("option", [option for option in options("optimizer") if option != "eomt"])
def test_optimizers_step_and_their_rate_falls(option: str) -> None:
    torch.manual_seed(0)
    recipe = build(composed(f"optimizer={option}").optimizer)
    backbone, heads = nn.Linear(4, 3), (nn.Linear(3, 2), nn.Linear(3, 1))
    optimizer, schedule = recipe.build(backbone, heads, steps=10)
    assert [len(group["params"]) for group in optimizer.param_groups] == [2, 4]
    assert 0 <= recipe.ema_decay < 1
    before, rates = backbone.weight.clone(), []
    for _ in range(10):
        optimizer.zero_grad()
        hidden = backbone(torch.ones(2, 4))
        sum(head(hidden).square().mean() for head in heads).backward()
        rates.append(schedule.get_last_lr())
        optimizer.step()
        schedule.step()
    assert not torch.equal(backbone.weight, before)
    for place, peak in enumerate((recipe.backbone_lr, recipe.head_lr)):
        column = [rate[place] for rate in rates]
        assert 0 < column[-1] < 0.3 * max(column) <= 0.3 * peak * 1.0001


# The shape of the code


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module)


@pytest.mark.parametrize("folder", ["rebalancing", "crf"])
def test_the_core_imports_no_shell(folder: str) -> None:
    files = sorted((ROOT / "dhr" / folder).glob("*.py"))
    assert len(files) >= 4
    shell = {"hydra", "omegaconf", "pytorch_lightning", "lightning_fabric", "pathlib", "logging", "rich"}
    for path in files:
        for name in imported(path):
            assert name.partition(".")[0] not in shell, f"{path.name}: {name}"
            assert not name.startswith(("dhr.config", "dhr.training", "dhr.disk.layout")), f"{path.name}: {name}"


def test_importing_the_package_is_light() -> None:
    code = "import sys, dhr; print(sorted({'torch', 'numpy', 'hydra', 'pytorch_lightning'} & {*sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("file", "name"),
    [("rebalancing/rebalancer.py", "Rebalancer.__call__"), ("training/module.py", "SegmentationModule.training_step")],
)
def test_the_idea_fits_on_a_screen(file: str, name: str) -> None:
    owner, _, method = name.partition(".")
    tree = ast.parse((ROOT / "dhr" / file).read_text())
    [body] = [node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == owner]
    [function] = [node for node in body if isinstance(node, ast.FunctionDef) and node.name == method]
    assert function.end_lineno - function.body[0].lineno + 1 <= 25
