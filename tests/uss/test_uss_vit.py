"""Vision transformers: tokens against another library, positions against the authors' rule."""

import math
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor
from transformers import Dinov2Config, Dinov2Model
from transformers_of import TINY, picture, saved, transformer

from dhr.uss import vit, zoo
from dhr.uss.vit import VisionTransformer, resample_positions


def cubic(distance: float) -> float:
    """The cubic kernel with a = -0.75."""
    d, a = abs(distance), -0.75
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * (d**3 - 5 * d**2 + 8 * d - 4) if d < 2 else 0.0


def weights_along(side: int, known: int, offset: float) -> Tensor:
    """(side,known): how much every known position counts for every new one; the edge goes on beyond the edge."""
    table = torch.zeros(side, known, dtype=torch.float64)
    for new in range(side):
        place = (new + 0.5) * known / (side + offset) - 0.5
        for tap in range(math.floor(place) - 1, math.floor(place) + 3):
            table[new, min(max(tap, 0), known - 1)] += cubic(place - tap)
    return table


@pytest.mark.parametrize("grid", [(5, 9), (10, 12), (23, 23), (3, 4), (1, 30)])
def test_positions_follow_the_rule_of_the_authors(grid: tuple[int, int]) -> None:
    known = torch.randn(1, 6, 10, 10, generator=torch.Generator().manual_seed(0))
    rows, columns = (weights_along(side, 10, 0.1) for side in grid)
    expected = torch.einsum("hy,wx,byx->hwb", rows, columns, known[0].double()).flatten(0, 1)
    made = resample_positions(known, grid)[0]
    torch.testing.assert_close(made.double(), expected, atol=1e-5, rtol=0)
    smoothed = torch.nn.functional.interpolate(known, grid, mode="bicubic", antialias=True)[0].flatten(1).T
    assert float((made - smoothed).abs().max()) > 0.05  # what timm does by itself


def test_every_grid_comes_out_whole() -> None:
    for known in (28, 37):
        positions = torch.zeros(1, 1, known, known)
        for side in range(1, 200):
            assert resample_positions(positions, (side, 200 - side)).shape == (1, side * (200 - side), 1)


def test_positions_of_the_learnt_grid_are_the_learnt_ones() -> None:
    known = torch.randn(1, 6, 10, 10)
    assert torch.equal(resample_positions(known, (10, 10)), known.flatten(2).transpose(1, 2))


@pytest.mark.parametrize("name", [TINY, "test_vit2"])
def test_on_the_learnt_grid_tokens_are_those_of_timm(name: str) -> None:
    ours = transformer(name)
    side = ours.layers.patch_embed.img_size[0]
    with torch.no_grad():
        expected = ours.layers.forward_features(picture(side, side))[:, ours.layers.num_prefix_tokens :]
    made = ours(picture(side, side))
    torch.testing.assert_close(made.flatten(2).transpose(1, 2), expected, atol=1e-5, rtol=1e-4)


def test_the_last_row_of_the_grid_is_the_last_row_of_the_image() -> None:
    ours, image = transformer(), picture(48, 80)
    changed = image.clone()
    changed[:, :, 32:, 64:] += 3
    difference = (ours(changed) - ours(image)).norm(dim=1)
    assert difference.shape == (2, 3, 5)
    assert bool((difference.flatten(1).argmax(1) == 14).all())


RENAMED = {  # DINOv2 in transformers -> in the authors' files
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.patch_embeddings.projection": "patch_embed.proj",
    "embeddings.": "",
    "encoder.layer.": "blocks.",
    "attention.o_proj": "attn.proj",
    "layer_scale1.lambda1": "ls1.gamma",
    "layer_scale2.lambda1": "ls2.gamma",
    "mlp.down_proj": "mlp.w3",
    "layernorm.": "norm.",
}
JOINED = {
    "attention.q_proj": ("attn.qkv", "attention.k_proj", "attention.v_proj"),
    "mlp.gate_proj": ("mlp.w12", "mlp.up_proj"),
}


def rename(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of transformers in the form of the authors' files, where some layers are one."""
    joined = {}
    for name, value in theirs.items():
        for first, (place, *others) in JOINED.items():
            if first in name:
                joined[name.replace(first, place)] = torch.cat(
                    [value, *(theirs[name.replace(first, o)] for o in others)]
                )
    apart = [part for first, (_, *others) in JOINED.items() for part in (first, *others)]
    made = {name: value for name, value in theirs.items() if not any(part in name for part in apart)} | joined
    for old, new in RENAMED.items():
        made = {name.replace(old, new): value for name, value in made.items()}
    return made


@pytest.fixture(scope="module", params=[False, True], ids=["mlp", "swiglu"])
def pair(request: pytest.FixtureRequest) -> tuple[str, Dinov2Model]:
    """A small DINOv2 of transformers, with random weights that all show, and the name of its like in timm."""
    torch.manual_seed(0)
    shape = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3, "image_size": 70, "patch_size": 14}
    theirs = Dinov2Model(Dinov2Config(**shape, use_swiglu_ffn=request.param)).eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return f"tiny_{'swiglu' if request.param else 'mlp'}", theirs


def tiny_dinov2(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Makes timm build its DINOv2 as small as the one of transformers; names and layers stay those of timm."""
    create, big = timm.create_model, {"tiny_mlp": "vit_small_patch14_dinov2", "tiny_swiglu": "vit_giant_patch14_dinov2"}
    ratio = {} if name == "tiny_mlp" else {"mlp_ratio": 256 / 48}
    shape = {"embed_dim": 48, "depth": 2, "num_heads": 3, "img_size": 70, **ratio}
    monkeypatch.setattr(zoo.timm, "create_model", lambda _, **settings: create(big[name], **shape, **settings))


@pytest.mark.parametrize("size", [(70, 70), (56, 98), (140, 84)])
def test_tokens_are_those_of_another_library(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pair: tuple[str, Dinov2Model], size: tuple[int, int]
) -> None:
    name, theirs = pair
    tiny_dinov2(monkeypatch, name)
    path = saved(tmp_path / "dinov2_pretrain.pth", rename(theirs.state_dict()))
    ours = VisionTransformer(name="vit_small_patch14_dinov2", weights=path)
    monkeypatch.setattr(vit, "OFFSET", 0.0)  # the other library leaves it out
    with torch.no_grad():
        expected = theirs(picture(*size)).last_hidden_state[:, 1:]
    made = ours(picture(*size))
    assert made.shape == (2, 48, size[0] // 14, size[1] // 14)
    torch.testing.assert_close(made.flatten(2).transpose(1, 2), expected, atol=1e-4, rtol=1e-4)


def test_registers_are_no_tokens() -> None:
    torch.manual_seed(0)
    ours = transformer("vit_small_patch14_reg4_dinov2.lvd142m")
    torch.nn.init.normal_(ours.layers.pos_embed)
    made = ours(picture(42, 56))
    assert made.shape == (2, 384, 3, 4)
    with torch.no_grad():  # without an offset and anti-aliased: for these, timm follows the authors
        expected = ours.layers.forward_features(picture(42, 56))[:, 5:]
    torch.testing.assert_close(made.flatten(2).transpose(1, 2), expected, atol=1e-5, rtol=1e-4)


def test_frozen_whatever_is_said() -> None:
    ours = transformer()
    before = ours(picture(48, 48))
    holder = torch.nn.ModuleList([ours]).train()
    assert not any(module.training for module in ours.modules()) and holder.training
    assert not any(parameter.requires_grad for parameter in ours.parameters()) and not before.requires_grad
    assert torch.equal(ours(picture(48, 48)), before)
    torch.nn.Linear(64, 2)(before.mean((2, 3))).sum().backward()  # what learns on tokens can keep them


@pytest.mark.parametrize("precision", ["bf16", "fp16", "fp32"])
def test_precision(precision: Any) -> None:
    exact, ours = transformer()(picture(48, 64)), transformer(precision=precision)
    with torch.autocast("cpu", dtype=torch.bfloat16):  # what surrounds it does not count
        made = ours(picture(48, 64))
    assert made.dtype == torch.float32
    difference = float((made - exact).norm() / exact.norm())
    assert difference == 0 if precision == "fp32" else 1e-5 < difference < 0.05
