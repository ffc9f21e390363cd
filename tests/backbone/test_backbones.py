"""Backbones: sizes, published widths, timm and the released numbers as reference, files of weights."""

import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from small_networks import expected, image, norms_of, relative_error, released, target, words
from torch import Tensor, nn

from dhr.backbone.swin import Swin
from dhr.backbone.vit import Vit
from dhr.backbone.wide_resnet38 import MOMENTUM, WideResNet38
from dhr.config.compose import compose
from dhr.config.parts import build
from dhr.config.tree import options
from dhr.core.errors import InputError

SWIN, VIT = "swin_tiny_patch4_window7_224.ms_in1k", "vit_small_patch16_224.augreg_in21k_ft_in1k"
small_swin = partial(Swin, SWIN, embed=12, depths=(1, 2, 1, 1), heads=(3, 3, 6, 6), window=4)
small_vit = partial(Vit, VIT, embed=24, depth=4, heads=3)
small_wide = partial(WideResNet38, width=4)
SMALL = {"swin": small_swin, "vit": small_vit, "wide_resnet38": small_wide}
PARAMETERS = {  # published, in millions, less the classifier
    "resnet18": 11.2, "resnet34": 21.3, "resnet50": 23.5, "resnet101": 42.5, "resnet152": 58.1, "wide_resnet38": 105.1,
    "swin_tiny": 27.5, "swin_base": 86.9, "swin_large": 195.2, "vit_small": 21.7, "vit_base": 85.8,
    "dinov2_small": 22.1, "dinov2_base": 86.7, "dinov2_large": 304.6, "vit_toy": 0.9,
    "dinov3_small": 21.6, "dinov3_base": 85.6, "dinov3_large": 303.1,
    "resnet18_half": 2.8, "timm": 3.0, "efficientnet_lite0": 3.4,
}  # fmt: skip


@pytest.mark.parametrize("option", options("backbone"))
def test_every_backbone_has_its_published_size(option: str) -> None:
    cfg = compose("train", ["dataset=voc", f"backbone={option}", "backbone.weights=null", "decoder=mask2former"])
    with torch.device("meta"):
        backbone = build(cfg.backbone)
        maps = backbone(torch.empty(2, 3, 97, 130))
    assert sum(each.numel() for each in backbone.parameters()) / 1e6 == pytest.approx(PARAMETERS[option], abs=0.07)
    strides = [min(stride, backbone.output_stride) for stride in (4, 8, 16, 32)]
    sizes = [(math.ceil(97 / stride), math.ceil(130 / stride)) for stride in strides]
    assert [tuple(each.shape) for each in maps] == [
        (2, width, *size) for width, size in zip(backbone.channels, sizes, strict=True)
    ]


@pytest.mark.parametrize("size", [(64, 64), (50, 37), (5, 7)])
@pytest.mark.parametrize("kind", sorted(SMALL))
def test_images_of_any_size(kind: str, size: tuple[int, int]) -> None:
    backbone = SMALL[kind]().eval()
    with torch.no_grad():
        maps = backbone(image(*size)[None])
    for each, width, stride in zip(maps, backbone.channels, (4, 8, 16, 32), strict=True):
        cells = [math.ceil(side / min(stride, backbone.output_stride)) for side in size]
        assert each.shape == (1, width, *cells) and bool(torch.isfinite(each).all())


# Wide-ResNet-38


def test_the_released_features_of_wide_resnet38(shared: Path) -> None:
    backbone, theirs = WideResNet38().eval(), expected(shared, "wide_resnet38")
    backbone.layers.load_state_dict(released(shared, "wide_resnet38"), strict=True)
    found: dict[str, Tensor] = {}
    backbone.layers.b2_2.register_forward_hook(lambda _, given, out: found.update(c1=out[1]))
    with torch.no_grad():
        found |= zip(("c2", "c3", "c4", "c5"), backbone(torch.from_numpy(theirs["image"])), strict=True)
    error = {name: relative_error(each[:, :8], theirs[name]) for name, each in found.items()}
    assert len(error) == 5 and max(error.values()) < 1e-4, error


def test_the_frozen_parts_stay_as_they_were() -> None:
    backbone = small_wide().train()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    backbone(image(32, 32)[None])[3].square().mean().backward()
    assert all(torch.equal(before[name], value) for name, value in backbone.state_dict().items())
    frozen = {name for name, each in backbone.named_parameters() if not each.requires_grad}
    assert frozen == {name for name in dict(backbone.named_parameters()) if ".bn" in name or ".conv1a." in name}
    assert {name for name, each in backbone.named_parameters() if each.grad is None} == frozen
    assert {each.training for each in backbone.modules() if isinstance(each, nn.Dropout2d)} == {True}


def test_thawed_norms_learn_slowly() -> None:
    backbone = small_wide(frozen=False).train()
    norm, seen = backbone.layers.b2.bn_branch2a, backbone.layers.conv1a(image(32, 32)[None])
    backbone(image(32, 32)[None])
    torch.testing.assert_close(norm.running_mean, MOMENTUM * seen.mean((0, 2, 3)))
    assert {each.momentum for each in norms_of(backbone)} == {3e-4}
    assert all(each.requires_grad for each in backbone.parameters())


def test_only_the_last_blocks_drop() -> None:
    blocks = dict(small_wide().layers.named_children())
    rates = {name: block.dropout.p for name, block in blocks.items() if hasattr(block, "dropout")}
    assert {name: rate for name, rate in rates.items() if rate} == {"b6": 0.3, "b7": 0.5}


# Transformers


def test_swin_is_timms_with_a_norm_per_stage() -> None:
    backbone = small_swin(window=2).eval()
    body, norms = backbone.layers.body, backbone.layers.norms
    for each in [*norms, *(each for name, each in body.named_parameters() if "bias_table" in name)]:
        nn.init.normal_(each.weight if isinstance(each, nn.LayerNorm) else each)
    plain = timm.create_model(
        SWIN, features_only=True, img_size=64, embed_dim=12, depths=(1, 2, 1, 1), num_heads=(3, 3, 6, 6), window_size=2
    ).eval()
    plain.load_state_dict({name.replace("layers.", "layers_", 1): each for name, each in body.state_dict().items()})
    with torch.no_grad():
        theirs, ours = plain(image(64, 64)[None]), backbone(image(64, 64)[None])
    for each, norm, value in zip(theirs, norms, ours, strict=True):
        torch.testing.assert_close(value, norm(each).permute(0, 3, 1, 2), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["swin", "vit"])
def test_sizes_are_filled_up_with_zeros(kind: str) -> None:
    backbone, cut = SMALL[kind]().eval(), image(61, 50)
    whole = torch.zeros(1, 3, 64, 64)
    whole[0, :, :61, :50] = cut
    with torch.no_grad():
        ours = backbone(cut[None])
        theirs = backbone(whole if kind == "vit" else whole[..., :52])
    for small, wide in zip(ours, theirs, strict=True):
        torch.testing.assert_close(small, wide[..., : small.shape[2], : small.shape[3]], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("stride", [16, 32])
def test_a_vit_gives_the_tokens_of_its_blocks(stride: int) -> None:
    backbone = small_vit(output_stride=stride).eval()
    picture = image(64, 96)[None]
    with torch.no_grad():
        tokens = backbone.layers.get_intermediate_layers(picture, n=[1, 2, 3], reshape=True, norm=True)
        _, c3, c4, c5 = backbone(picture)
    torch.testing.assert_close(c3, nn.functional.interpolate(tokens[0], scale_factor=2, mode="bilinear"))
    torch.testing.assert_close(c4, tokens[1])
    torch.testing.assert_close(c5, tokens[2] if stride == 16 else nn.functional.max_pool2d(tokens[2], 2))


@pytest.mark.parametrize("kind", ["swin", "vit"])
def test_checkpointing_changes_nothing_but_memory(kind: str) -> None:
    plain, frugal = SMALL[kind](), SMALL[kind](gradient_checkpointing=True)
    frugal.load_state_dict(plain.state_dict())
    kept: dict[bool, int] = {}
    for saves, backbone in ((False, plain), (True, frugal)):
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda each, to=sizes: to.append(each.numel()) or each, id_):
            maps = backbone.train()(image(64, 64)[None])
        sum(each.square().mean() for each in maps).backward()
        kept[saves] = sum(sizes)
    for (name, one), (_, other) in zip(plain.named_parameters(), frugal.named_parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-6, rtol=1e-4, msg=name)
    assert kept[True] < 0.6 * kept[False]


def id_(value: Tensor) -> Tensor:
    return value


@pytest.mark.parametrize("kind", ["swin", "vit"])
def test_blocks_are_skipped_more_often_the_deeper_they_lie(kind: str) -> None:
    backbone = SMALL[kind](drop_path=0.3)
    rates = [each.drop_prob for each in backbone.modules() if type(each).__name__ == "DropPath"]
    assert rates == sorted(rates) and rates[-1] == pytest.approx(0.3)
    assert not any(type(each).__name__ == "DropPath" for each in SMALL[kind]().modules())


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (partial(small_swin, embed=13), "backbone.heads: 13 cannot be divided by 3; use 15"),
        (partial(small_vit, heads=5), "backbone.heads: 24 cannot be divided by 5; use 25"),
        (partial(small_vit, depth=6), "backbone.depth: .* 6 cannot be divided by 4; use 8"),
    ],
)
def test_widths_that_do_not_divide(make: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        make()


# Files of weights


def imagenet_like(backbone: Any, body: nn.Module) -> dict[str, Tensor]:
    """As an ImageNet classifier of this backbone is saved: no counters, but a head, and the norm before it."""
    state = {name: torch.rand_like(value.float()) for name, value in body.state_dict().items()}
    state = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    width = backbone.channels[3]
    head = {"fc": (5, width), "head": (5, width), "linear1000": (5, width), "norm": (width,)}
    return {**state, **{f"{name}.weight": torch.rand(shape) for name, shape in head.items() if name != "norm"}}


@pytest.mark.parametrize("kind", sorted(SMALL))
def test_imagenet_weights_from_a_file(tmp_path: Path, kind: str) -> None:
    first = SMALL[kind]()
    body = first.layers.body if kind == "swin" else first.layers
    state = imagenet_like(first, body)
    if kind == "swin":
        state["norm.weight"] = torch.ones(first.channels[3])  # Swin's last norm is its classifier's
    torch.save(state, tmp_path / "weights.pth")
    loaded = SMALL[kind](weights=str(tmp_path / "weights.pth"))
    found = (loaded.layers.body if kind == "swin" else loaded.layers).state_dict()
    names = [name for name in found if not name.endswith("num_batches_tracked")]
    assert names and all(torch.equal(found[name], state[name]) for name in names)


@pytest.mark.parametrize("kind", sorted(SMALL))
def test_our_own_backbones_from_a_file(tmp_path: Path, kind: str) -> None:
    first, path = SMALL[kind](), tmp_path / "backbone.safetensors"
    save_file({name: each.contiguous() for name, each in first.layers.state_dict().items()}, path)
    loaded = SMALL[kind](weights=str(path)).layers.state_dict()
    assert all(torch.equal(loaded[name], each) for name, each in first.layers.state_dict().items())
    save_file({name: each.contiguous() for name, each in first.layers.state_dict().items() if "2" not in name}, path)
    with pytest.raises(InputError, match=rf"{path}: does not fit this network: \d+ missing"):
        SMALL[kind](weights=str(path))


def test_weights_that_cannot_be_fetched_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=r"backbone.weights=imagenet: the weights of swin.*backbone.weights=<file>"):
        small_swin(weights="imagenet")


def test_small_options_are_of_every_class() -> None:
    assert {target("backbone", option) for option in options("backbone")} == {
        *("ResNet", "Swin", "Vit", "WideResNet38", "TimmNetwork")
    }
    assert words("vit_base", "deeplabv1")[1:3] == ["backbone=vit_base", "decoder=deeplabv1"]
