"""Parts of backbones that do not learn: parameters and buffers bit by bit, in real steps of real optimizers."""

from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from small_networks import image, norms_of
from tiny import Tiny
from torch import Tensor, nn

from dhr.backbone.frozen import FreezableBackbone
from dhr.backbone.resnet import ResNet
from dhr.backbone.swin import Swin
from dhr.backbone.timm_network import TimmNetwork
from dhr.backbone.vit import Vit
from dhr.backbone.wide_resnet38 import WideResNet38
from dhr.config.compose import compose
from dhr.config.parts import build
from dhr.core.errors import InputError
from dhr.disk.weights.state import read_checkpoint
from dhr.training.optimizer import AdamWithDecay, OptimizerRecipe, PolyAdam, Sgd

SWIN, VIT = "swin_tiny_patch4_window7_224.ms_in1k", "vit_small_patch16_224.augreg_in21k_ft_in1k"
SMALL: dict[str, Any] = {
    "resnet": partial(ResNet, "resnet18", widths=(8, 8, 8, 8)),
    "wide_resnet38": partial(WideResNet38, width=4, frozen=False),
    "timm": partial(TimmNetwork, "test_efficientnet"),
    "swin": partial(Swin, SWIN, embed=12, depths=(1, 2, 1, 1), heads=(3, 3, 6, 6), window=4, drop_path=0.3),
    "vit": partial(Vit, VIT, embed=24, depth=4, heads=3, drop_path=0.3, gradient_checkpointing=True),
}
FROZEN = {  # beginnings of names of what C2 is computed from, and of what C3 and C4 are beside that
    "resnet": (["conv1", "bn1", "layer1"], ["layer2", "layer3"]),
    "wide_resnet38": (["conv1a", "b2", "b3"], ["b4", "b5", "b6.bn_branch2a"]),
    "timm": (["conv_stem", "bn1", "blocks.0", "blocks.1"], ["blocks.2", "blocks.3"]),
    "swin": (
        ["body.patch_embed", "body.layers.0", "norms.0"],
        ["body.layers.1", "body.layers.2", "norms.1", "norms.2"],
    ),
    "vit": (["patch_embed", "pos_embed", "cls_token", "norm.", "blocks.0"], ["blocks.1", "blocks.2"]),
}
RECIPES = {"sgd": Sgd(), "adamw": AdamWithDecay(), "mask2former": PolyAdam(backbone_lr=1e-2)}


def state_of(module: nn.Module) -> dict[str, Tensor]:
    return {name: each.clone() for name, each in module.state_dict().items()}


def learn(backbone: FreezableBackbone, recipe: OptimizerRecipe) -> set[str]:
    """Some steps; names of all that is not as it was, bit by bit."""
    before, head = state_of(backbone.layers), nn.Conv2d(backbone.channels[3], 2, 1)  # type: ignore[union-attr, index]
    optimizer, schedule = recipe.build(backbone, (head,), 3)
    pictures = torch.stack([image(64, 64), image(64, 64).flip(-1)])
    for _ in range(3):
        maps = backbone(pictures)
        (sum((each - 1).square().mean() for each in maps[:3]) + (head(maps[3]) - 1).square().mean()).backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return {name for name, each in state_of(backbone.layers).items() if not torch.equal(each, before[name])}


def learning(backbone: FreezableBackbone, stages: int, kind: str) -> set[str]:
    """Names of what should have changed: all but those of the first stages."""
    first, further = FROZEN[kind]
    frozen = tuple(first + further * (stages == 3))
    return {name for name in backbone.layers.state_dict() if not name.startswith(frozen)}  # type: ignore[union-attr]


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("stages", [0, 1, 3])
@pytest.mark.parametrize("kind", SMALL)
def test_frozen_stages_stay_while_the_rest_learns(kind: str, stages: int, recipe: str) -> None:
    torch.manual_seed(0)
    backbone = SMALL[kind](frozen_stages=stages)
    changed = learn(backbone.train(), RECIPES[recipe])
    expected = learning(backbone, stages, kind) if stages else {*backbone.layers.state_dict()}
    assert changed == expected


@pytest.mark.parametrize("kind", SMALL)
def test_a_frozen_backbone_gives_the_same_maps_in_training(kind: str) -> None:
    backbone = SMALL[kind](frozen_stages=4).train()
    assert not any(each.requires_grad for each in backbone.parameters())
    assert learn(backbone, Sgd()) == set()
    maps = backbone(image(64, 64)[None])
    assert all(torch.equal(one, other) for one, other in zip(maps, backbone.eval()(image(64, 64)[None]), strict=True))


@pytest.mark.parametrize("kind", ["resnet", "wide_resnet38", "timm"])
def test_frozen_norms_keep_their_statistics_and_learn(kind: str) -> None:
    backbone = SMALL[kind](frozen_norms=True).train()
    changed, buffers = learn(backbone, Sgd()), {name for name, _ in backbone.layers.named_buffers()}
    assert buffers and changed == {*backbone.layers.state_dict()} - buffers


@pytest.mark.parametrize("kind", SMALL)
def test_copies_and_changes_of_mode_leave_them_as_they_are(kind: str) -> None:
    first = SMALL[kind](frozen_stages=1, frozen_norms=True)
    for backbone in (first, deepcopy(first), first.eval().train(), nn.Sequential(deepcopy(first)).eval().train()[0]):
        assert backbone.training and not any(each.training for each in norms_of(backbone))
        inside = [each for name, each in backbone.layers.named_modules() if name.startswith(tuple(FROZEN[kind][0]))]
        assert inside and not any(each.training for each in inside)
        assert any(each.training for each in backbone.layers.modules())
        assert {name for name, each in backbone.layers.named_parameters() if each.requires_grad} == {
            name for name in learning(backbone, 1, kind) if name in dict(backbone.layers.named_parameters())
        }


def test_synchronised_norms_are_frozen_as_well() -> None:
    network = nn.SyncBatchNorm.convert_sync_batchnorm(nn.Sequential(SMALL["resnet"](frozen_norms=True))).train()
    norms = [each for each in network.modules() if isinstance(each, nn.SyncBatchNorm)]
    assert norms and not any(each.training for each in norms)


def test_nothing_is_frozen_unless_asked_for() -> None:
    for kind, make in SMALL.items():
        backbone = make()
        assert all(each.requires_grad for each in backbone.parameters()), kind
        assert all(each.training for each in backbone.modules()), kind


def test_a_run_keeps_frozen_parts_bit_by_bit(tiny: Tiny, tmp_path: Path) -> None:
    start = state_of(ResNet("resnet18", widths=(8, 16, 32, 64)).layers)
    save_file(start, tmp_path / "start.safetensors")
    frozen = ["backbone.frozen_stages=1", "backbone.frozen_norms=true"]
    chosen = ["wss=cam", "rebalancing=none", "name=frozen", f"backbone.weights={tmp_path / 'start.safetensors'}"]
    tiny.call("train", *chosen, *frozen)
    checkpoint = read_checkpoint(tiny.run("frozen").last)
    for part in ("state_dict", "current_model_state"):  # averaged and trained
        found = {name.removeprefix("network.backbone.layers."): each for name, each in checkpoint[part].items()}
        kept = {name for name, each in start.items() if torch.equal(found[name], each)}
        assert kept == {name for name in start if name.startswith(("conv1", "bn1", "layer1")) or is_statistic(name)}


def is_statistic(name: str) -> bool:
    return name.endswith(("running_mean", "running_var", "num_batches_tracked"))


def test_a_run_that_is_older_than_these_options_goes_on(tiny: Tiny) -> None:
    tiny.call("train", "wss=cam", "rebalancing=none", "name=older")
    config = tiny.run("older").config
    lines = config.read_text().splitlines(keepends=True)
    config.write_text("".join(line for line in lines if "frozen_" not in line))
    assert config.read_text().count("frozen_") == 0 < "".join(lines).count("frozen_")
    tiny.call("train", "wss=cam", "rebalancing=none", "name=older", "resume=true")
    with pytest.raises(InputError, match=r"other settings: backbone.frozen_stages=1 \(0 there\)"):
        tiny.call("train", "wss=cam", "rebalancing=none", "name=older", "resume=true", "backbone.frozen_stages=1")


def test_the_classifier_behind_cams_is_trained_as_in_the_field() -> None:
    cfg = compose("train_wss", ["dataset=voc", "wss=cam", "cam.backbone.weights=null"])
    backbone: Any = build(cfg.wss.recipe).backbone
    learning = {name.split(".")[0] for name, each in backbone.layers.named_parameters() if each.requires_grad}
    assert learning == {"layer3", "layer4"}
    assert not any(each.training for each in norms_of(backbone.train()))
