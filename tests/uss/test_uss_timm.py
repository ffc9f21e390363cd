"""Tokens of any network of timm: maps against timm's own tokens, colours, files, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor
from transformers_of import picture, saved
from written import written

from dhr.config.compose import compose
from dhr.config.parts import build
from dhr.config.tree import options
from dhr.core.colour import normalise
from dhr.core.errors import InputError
from dhr.uss import zoo
from dhr.uss.timm_tokens import TimmTokens

LITE = "tf_efficientnet_lite0.in1k"
TINY = "test_vit"  # of timm: 64 channels, patch 16
MOBILE = "mobilenetv3_small_050"


def tokens_of(name: str, **settings: Any) -> TimmTokens:
    torch.manual_seed(0)
    return TimmTokens(name=name, **{"weights": "random", **settings})


def shrink(monkeypatch: pytest.MonkeyPatch, **shape: Any) -> None:
    """Makes timm build every network that small; its layers, names and facts stay."""
    create = timm.create_model
    monkeypatch.setattr(zoo.timm, "create_model", lambda name, **settings: create(name, **shape, **settings))


def untouched(network: TimmTokens) -> TimmTokens:
    """The network, which takes its images as they are."""
    network.colours = None
    return network


@pytest.mark.parametrize("name", [TINY, "vit_pe_spatial_tiny_patch16_512.fb", "vit_small_patch16_dinov3.lvd1689m"])
def test_tokens_of_a_transformer_are_those_of_timm_without_the_prefix(name: str) -> None:
    ours = untouched(tokens_of(name))
    with torch.no_grad():
        whole = ours.layers.forward_features(picture(48, 80))
    expected = whole[:, ours.layers.num_prefix_tokens :]
    assert expected.shape[1] == 3 * 5
    made = ours(picture(48, 80))
    torch.testing.assert_close(made, expected.transpose(1, 2).unflatten(2, (3, 5)), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["resnet18", "convnext_tiny.dinov3_lvd1689m", "swin_tiny_patch4_window7_224"])
def test_maps_of_other_networks_are_those_of_timm(name: str) -> None:
    ours, image = tokens_of(name), picture(64, 160)
    with torch.no_grad():
        expected = ours.layers.forward_features(image)
    expected = expected.permute(0, 3, 1, 2) if name.startswith("swin") else expected
    torch.testing.assert_close(ours(image), expected, atol=1e-5, rtol=1e-4)


def test_the_map_of_an_earlier_block() -> None:
    ours, image = tokens_of("resnet18", block=3), picture(64, 96)
    layers = ours.layers
    with torch.no_grad():
        expected = layers.layer3(
            layers.layer2(layers.layer1(layers.maxpool(layers.act1(layers.bn1(layers.conv1(image))))))
        )
    assert (ours.patch_size, ours.dim) == (16, 256)
    torch.testing.assert_close(ours(image), expected)


@pytest.mark.parametrize("stride", [None, 8, 16, 32])
def test_a_dilated_network_has_more_cells(stride: Any) -> None:
    ours = tokens_of(LITE, output_stride=stride)
    assert ours.patch_size == (stride or 32)
    assert ours(picture(96, 64)).shape == (2, ours.dim, 96 // ours.patch_size, 64 // ours.patch_size)


# Colours


@pytest.mark.parametrize("name", [LITE, "vit_pe_spatial_tiny_patch16_512.fb", "vit_base_patch16_clip_224.openai"])
def test_networks_get_the_colours_they_were_trained_with(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if "clip" in name:
        shrink(monkeypatch, depth=1, embed_dim=48, num_heads=3)
    known, ours = timm.get_pretrained_cfg(name), tokens_of(name)
    pixels = torch.randint(0, 256, (1, 3, 64, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    made = ours(normalise(pixels))
    mean, deviation = (torch.tensor(each)[None, :, None, None] for each in (known.mean, known.std))
    torch.testing.assert_close(made, untouched(ours)((pixels / 255 - mean) / deviation), atol=1e-4, rtol=1e-4)
    assert float((made - ours(normalise(pixels))).abs().max()) > 1e-3


def test_networks_of_imagenet_get_the_very_image() -> None:
    assert tokens_of("resnet18").colours is None


# Files


def whole(name: str, **settings: Any) -> dict[str, Tensor]:
    """Weights of the network with its classifier."""
    torch.manual_seed(3)
    return timm.create_model(name, **settings).state_dict()


@pytest.mark.parametrize("form", ["plain.safetensors", "plain.pth", "training.pth.tar"])
@pytest.mark.parametrize("name", [TINY, MOBILE, "resnet18"])
def test_a_file_of_a_whole_classifier(tmp_path: Path, form: str, name: str) -> None:
    weights = whole(name)
    training = {"epoch": 3, "state_dict": {f"module.{key}": value for key, value in weights.items()}}
    path = saved(tmp_path / form, training if form.startswith("training") else weights)
    loaded = tokens_of(name, weights=path)
    assert all(torch.equal(value, weights[key]) for key, value in loaded.layers.state_dict().items())
    torch.manual_seed(3)
    with torch.no_grad():
        classifier = timm.create_model(name).eval()
        expected = (
            classifier.forward_intermediates(picture(96, 96), intermediates_only=True)[-1] if name != TINY else None
        )
    if expected is not None:
        torch.testing.assert_close(untouched(loaded)(picture(96, 96)), expected)


def test_a_file_of_another_network_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "model.safetensors", whole("resnet18"))
    with pytest.raises(InputError, match=r"model\.safetensors: does not fit this network"):
        tokens_of("resnet34", weights=path)
    with pytest.raises(InputError, match=r"model\.safetensors: sha256 is .*, uss\.tokens\.sha256 says 00; download"):
        tokens_of("resnet18", weights=path, sha256="00")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weights": None}, r"weights: null: features of an untrained network are noise; use pretrained"),
        ({"weights": "nowhere.pth"}, r"weights: nowhere\.pth: no such file; allowed are pretrained or"),
        ({"sha256": "00"}, r"sha256: 00: belongs to a file; set"),
        ({"name": "vit_huge"}, r"name: vit_huge: timm has no such model"),
        ({"name": "resnet18.nothing"}, r"name: resnet18\.nothing: .*tag"),
        ({"name": "beit_base_patch16_224"}, r"name: beit.*: gives no map of 32 x 48 pixels .*224.*; use another"),
        ({"name": MOBILE, "output_stride": 16}, r"output_stride: 16: mobilenetv3_small_050 cannot be dilated"),
        ({"block": 6}, r"block: 6: allowed are 0 to 5, the blocks of test_vit, and null"),
        ({"block": -1}, r"block: -1: allowed are 0 to 5"),
        ({"output_stride": 16}, r"output_stride: 16: test_vit cannot be dilated; set uss\.tokens\.output_stride=null"),
        ({"name": "swin_tiny_patch4_window7_224", "output_stride": 8}, r"output_stride: 8: swin.* cannot be dilated"),
    ],
)
def test_wrong_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=rf"^uss\.tokens\.{message}"):
        tokens_of(**{"name": TINY, **settings})


def test_weights_that_cannot_be_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr(timm.models._builder, "load_pretrained", offline)
    message = (
        r"weights: pretrained: the weights of vit_small.* could not be fetched.*https://huggingface\.co/timm.*=<file>"
    )
    with pytest.raises(InputError, match=message):
        TimmTokens(name="vit_small_patch16_dinov3.lvd1689m", weights="pretrained")


# The options that are offered

OFFERED = [name for name in options("uss/tokens") if "timm_tokens" in written("uss/tokens", name)["_target_"]]
FAMILIES = {"dinov3", "lingbot", "tipsv2", "pe"}


@pytest.mark.parametrize("option", OFFERED)
def test_every_option_gives_tokens_of_an_image_that_is_not_square(option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    node = compose("extract_uss", ["uss=dino", f"uss/tokens={option}", "uss.tokens.weights=random"]).uss.tokens
    small = {"vit": {"depth": 1}, "convnext": {"depths": (1, 1, 1, 1)}}
    shrink(monkeypatch, **small.get(node.name.partition("_")[0], {}))
    ours, known = build(node), timm.get_pretrained_cfg(node.name)
    image = picture(3 * ours.patch_size, 2 * ours.patch_size)
    made = ours(image)
    assert node.name in timm.list_pretrained() and made.shape == (2, ours.dim, 3, 2)
    assert bool(torch.isfinite(made).all()) and torch.equal(ours(image), made)
    assert (ours.colours is None) == (known.mean == (0.485, 0.456, 0.406))
    patch = option.rpartition("vit")[2].lstrip("tsblgo")
    assert (
        patch in ("", str(ours.patch_size)) if "vit" in option else ours.patch_size == (node.get("output_stride") or 32)
    )


def test_every_family_is_offered() -> None:
    assert {name.partition("_")[0] for name in OFFERED if name != "timm"} >= FAMILIES


@pytest.mark.parametrize("tokens", [f"uss.tokens.name={LITE}", "uss/tokens=dinov3_vits16", "uss/tokens=colour"])
def test_every_network_has_a_store_of_its_own(tokens: str) -> None:
    uss = compose("extract_uss", ["uss=timm", tokens]).uss
    assert uss.store.endswith(f"/timm_{uss.tokens.get('name', 'colour')}")
