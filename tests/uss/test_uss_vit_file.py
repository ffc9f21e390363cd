"""Vision transformers: files of the authors and of timm, what is refused, and the backbones that are offered."""

import argparse
import hashlib
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor
from transformers_of import TINY, picture, saved, transformer

from dhr.config.compose import compose
from dhr.config.tree import options
from dhr.core.errors import InputError
from dhr.uss.vit import VisionTransformer

BACKBONES = [name for name in options("uss/tokens") if name.partition("_")[0] in ("dino", "dinov2")]


def full_checkpoint(weights: dict[str, Tensor]) -> dict[str, Any]:
    """What DINO saves of a whole training."""
    teacher = {f"module.backbone.{name}": value for name, value in weights.items()}
    student = {name: value + 1 for name, value in teacher.items()}
    heads = {"module.head.mlp.0.weight": torch.rand(3, 64), "module.head.last_layer.weight_v": torch.rand(4, 3)}
    return {"student": {**student, **heads}, "teacher": {**teacher, **heads}, "epoch": 3, "optimizer": {"state": {}}}


@pytest.mark.parametrize("form", ["plain", "module", "backbone", "full", "dinov2 training", "safetensors"])
def test_files_of_the_authors_and_of_timm(tmp_path: Path, form: str) -> None:
    source = transformer()
    torch.nn.init.normal_(source.layers.pos_embed)
    weights = source.layers.state_dict()
    content = {
        "plain": lambda: weights,
        "module": lambda: {f"module.{name}": value for name, value in weights.items()},
        "backbone": lambda: {f"backbone.{name}": value for name, value in weights.items()},
        "full": lambda: full_checkpoint(weights),
        "dinov2 training": lambda: {"teacher": {
            **{f"backbone.{name}": value for name, value in weights.items()},
            "backbone.mask_token": torch.rand(1, 64), "dino_head.mlp.0.weight": torch.rand(2, 2),
        }},
        "safetensors": lambda: weights,
    }[form]()  # fmt: skip
    path = saved(tmp_path / ("model.safetensors" if form == "safetensors" else "model.pth"), content)
    torch.manual_seed(5)
    loaded = VisionTransformer(name=TINY, weights=path)
    assert torch.equal(loaded(picture(48, 64)), source(picture(48, 64)))


def test_registers_of_the_authors_files(tmp_path: Path) -> None:
    source = transformer("vit_small_patch14_reg4_dinov2.lvd142m")
    weights = dict(source.layers.state_dict())
    torch.nn.init.normal_(weights["cls_token"])
    of_class = torch.rand(1, 1, 384)
    theirs = {**weights, "register_tokens": weights["reg_token"], "mask_token": torch.rand(1, 384)}
    theirs |= {"cls_token": weights["cls_token"] - of_class}
    theirs |= {"pos_embed": torch.cat([of_class, weights["pos_embed"]], 1)}
    del theirs["reg_token"]
    path = saved(tmp_path / "dinov2_reg4_pretrain.pth", theirs)
    loaded = VisionTransformer(name="vit_small_patch14_reg4_dinov2.lvd142m", weights=path)
    torch.testing.assert_close(loaded(picture(28, 28)), source(picture(28, 28)))


def test_a_wrong_digest_is_refused(tmp_path: Path) -> None:
    path = Path(saved(tmp_path / "model.pth", transformer().layers.state_dict()))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert VisionTransformer(name=TINY, weights=str(path), sha256=digest.upper()).dim == 64
    with pytest.raises(InputError, match=rf"model\.pth: sha256 is {digest}, uss\.tokens\.sha256 says 0000; download"):
        VisionTransformer(name=TINY, weights=str(path), sha256="0000")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weights": None}, r"uss\.tokens\.weights: null: features of an untrained network are noise; use pretrained"),
        ({"weights": "nowhere.pth"}, r"uss\.tokens\.weights: nowhere\.pth: no such file; allowed are pretrained or"),
        ({"weights": "pretrained", "sha256": "00"}, r"uss\.tokens\.sha256: 00: belongs to a file; set"),
        ({"name": "vit_huge"}, r"uss\.tokens\.name: vit_huge: timm has no such model"),
        ({"name": "resnet18"}, r"uss\.tokens\.name: resnet18: no vision transformer of timm"),
        ({"name": "swin_tiny_patch4_window7_224"}, r"uss\.tokens\.name: swin_tiny_.*: .*vision transformer"),
        ({"name": "vit_small_patch16_224.nothing"}, r"uss\.tokens\.name: vit_small_patch16_224\.nothing: .*tag"),
    ],
)
def test_wrong_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        VisionTransformer(**{"name": TINY, "weights": "random", **settings})


def test_weights_that_cannot_be_fetched(no_weights_fetched: None) -> None:
    message = r"weights: pretrained: the weights of vit_small_patch8_224\.dino could not be fetched.*https://.*=<file>"
    with pytest.raises(InputError, match=message):
        VisionTransformer(name="vit_small_patch8_224.dino", weights="pretrained")


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "model.pth", transformer().layers.state_dict())
    with pytest.raises(InputError, match=r"model\.pth: does not fit this network"):
        VisionTransformer(name="test_vit2", weights=path)


def test_torn_and_hostile_files_are_refused(tmp_path: Path) -> None:
    path = Path(saved(tmp_path / "model.pth", transformer().layers.state_dict()))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match=r"model\.pth: not a checkpoint: it cannot be read safely"):
        VisionTransformer(name=TINY, weights=str(path))
    path = Path(saved(tmp_path / "full.pth", {"teacher": {}, "args": argparse.Namespace(arch="vit_small")}))
    with pytest.raises(InputError, match=r"full\.pth: not a checkpoint: it cannot be read safely"):
        VisionTransformer(name=TINY, weights=str(path))
    path = Path(saved(tmp_path / "names.pth", {"cls_token": 3}))
    with pytest.raises(InputError, match=r"names\.pth: not a plain state dict of tensors"):
        VisionTransformer(name=TINY, weights=str(path))


# The backbones that are offered


@pytest.mark.parametrize("option", BACKBONES)
def test_backbones_are_what_they_are_called(option: str) -> None:
    node = compose("extract_uss", ["uss=dino", f"uss/tokens={option}"]).uss.tokens
    family, size, patch = option[: option.index("_")], option[option.index("vit") + 3], option.rpartition("vit")[2][1:]
    assert node.name in timm.list_pretrained("vit_*")
    with torch.device("meta"):
        layers = timm.create_model(node.name, num_classes=0)
    assert layers.patch_embed.patch_size == (int(patch),) * 2
    assert layers.embed_dim == {"s": 384, "b": 768, "l": 1024, "g": 1536}[size]
    assert node.name.endswith({"dino": ".dino", "dinov2": ".lvd142m"}[family])
    assert (node.weights, node.sha256, node.precision) == ("pretrained", None, "fp32")
    known = timm.get_pretrained_cfg(node.name)
    assert known.mean == (0.485, 0.456, 0.406) and known.std == (0.229, 0.224, 0.225)
    assert layers.num_prefix_tokens == 1
