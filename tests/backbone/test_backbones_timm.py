"""Backbones by their names in timm: strides, timm's own maps, files of whole classifiers, what is refused."""

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from complaints import complaint
from safetensors.torch import save_file
from small_networks import image
from timm.layers import padding

from dhr.backbone.timm_network import TimmNetwork, padded_as_written_short
from dhr.core.errors import InputError

NAMES = {  # widths of C2..C5
    "resnet18": (64, 128, 256, 512),
    "tf_efficientnet_lite0": (24, 40, 112, 320),
    "convnext_atto": (40, 80, 160, 320),
    "mobilenetv3_small_050": (8, 16, 24, 288),
    "regnety_002": (24, 56, 152, 368),
}
UNDILATED = {"pvt_v2_b0": (32, 64, 160, 256), "densenet121": (256, 512, 1024, 1024)}


def wavy(name: str, **options: Any) -> Any:
    """A network of timm, none of whose values are constant over a layer."""
    network = timm.create_model(name, **options)
    for each in network.state_dict().values():
        if each.is_floating_point():
            each.mul_(0.9).add_(0.1 * torch.rand_like(each))
    return network.eval()


@pytest.mark.parametrize(
    ("name", "stride"),
    [*((name, stride) for name in NAMES for stride in (8, 16, 32)), *((name, 32) for name in UNDILATED)],
)
def test_maps_of_images_of_any_size(name: str, stride: int) -> None:
    backbone = TimmNetwork(name, output_stride=stride)  # type: ignore[arg-type]
    assert backbone.channels == {**NAMES, **UNDILATED}[name] and backbone.training
    backbone.eval()
    for size in ((64, 64), (50, 37), (97, 161)):
        with torch.no_grad():
            maps = backbone(image(*size)[None])
        for each, width, own in zip(maps, backbone.channels, (4, 8, 16, 32), strict=True):
            cells = [math.ceil(side / min(own, stride)) for side in size]
            assert each.shape == (1, width, *cells) and bool(torch.isfinite(each).all())


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_a_whole_classifier_gives_timms_maps(name: str, tmp_path: Path) -> None:
    whole = wavy(name)
    save_file(whole.state_dict(), tmp_path / "classifier.safetensors")
    backbone = TimmNetwork(name, output_stride=32, weights=str(tmp_path / "classifier.safetensors")).eval()
    with torch.no_grad():
        theirs = whole.forward_intermediates(image(64, 96)[None], intermediates_only=True)[-4:]
        ours = backbone(image(64, 96)[None])
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)
    assert not any(name.startswith(("classifier", "fc", "head")) for name in backbone.layers.state_dict())


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "test_efficientnet"])
@pytest.mark.parametrize("stride", [8, 32])
def test_final_layers_give_what_the_classifier_pools(name: str, stride: int, tmp_path: Path) -> None:
    whole = wavy(name, output_stride=stride)
    save_file(whole.state_dict(), tmp_path / "classifier.safetensors")
    path = str(tmp_path / "classifier.safetensors")
    backbone = TimmNetwork(name, output_stride=stride, weights=path, final_layers=True).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        theirs, ours = whole.forward_features(image(64, 96)[None]), backbone(image(64, 96)[None])
    torch.testing.assert_close(ours[3], theirs)
    assert backbone.channels[3] == theirs.shape[1] > TimmNetwork(name).channels[3]


def test_everything_that_is_kept_learns() -> None:
    for name in ("test_efficientnet", "mobilenetv3_small_050", "ghostnet_050"):
        backbone = TimmNetwork(name, output_stride=32)
        sum(each.square().mean() for each in backbone(image(64, 64)[None].repeat(2, 1, 1, 1))).backward()
        assert all(each.grad is not None for each in backbone.parameters() if each.requires_grad)


def test_our_own_weights_fit_again_and_others_do_not(tmp_path: Path) -> None:
    path = tmp_path / "backbone.safetensors"
    first = TimmNetwork("test_efficientnet")
    save_file(first.layers.state_dict(), path)
    again = TimmNetwork("test_efficientnet", weights=str(path)).layers.state_dict()
    assert all(torch.equal(again[name], each) for name, each in first.layers.state_dict().items())
    with pytest.raises(InputError, match=rf"{path}: does not fit this network: \d+ missing"):
        TimmNetwork("test_resnet", weights=str(path))
    save_file({**again, "decode_head.weight": torch.ones(1)}, path)
    with pytest.raises(InputError, match="holds a segmentation head"):
        TimmNetwork("test_efficientnet", weights=str(path))


REFUSED = [
    ({"name": "resnet19"}, r"backbone.name: resnet19: timm .* no such architecture; did you mean resnet"),
    ({"name": "hf-hub:somebody/something"}, "no such architecture"),
    ({"name": "resnet18.no_such"}, r"Invalid pretrained tag .*allowed are .*resnet18\.a1_in1k"),
    ({"name": "vit_tiny_patch16_224"}, "vit_tiny_patch16_224: gives maps at 16; strides 4, 8, 16 and 32 are needed"),
    ({"name": "levit_128s"}, "gives maps at 16, 32, 64"),
    ({"name": "pvt_v2_b0"}, "backbone.output_stride: 16: timm cannot dilate pvt_v2_b0.*backbone.output_stride=32"),
    ({"name": "swin_tiny_patch4_window7_224", "output_stride": 32}, "Input height .* doesn't match"),
    ({"name": "inception_v3", "output_stride": 32}, r"gives maps of .* and not .*tf_efficientnet_lite0"),
    ({"name": "resnet18", "final_layers": True}, "backbone.final_layers: true: nothing lies between"),
    ({"name": "mobilenetv3_small_050", "final_layers": True}, "use backbone.final_layers=false"),
    ({"name": "sam2_hiera_tiny", "weights": "imagenet"}, "are not ImageNet's"),
    ({"name": "resnet50.fb_swsl_ig1b_ft_in1k_no", "weights": "imagenet"}, "allowed are"),
    ({"name": "resnet18", "weights": "/no/such/file"}, "no such file; allowed are null, a file, and imagenet"),
]


@pytest.mark.parametrize(("options", "said"), REFUSED, ids=[str(each[0]) for each in REFUSED])
def test_what_timm_cannot_give_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        TimmNetwork(**options)


def test_an_output_stride_that_there_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    message = complaint(capsys, "train", ["dataset=voc", "backbone=timm", "backbone.output_stride=4"])
    assert "backbone.output_stride" in message and "8, 16" in message


def test_the_short_formula_pads_as_timm_does() -> None:
    settings = [*itertools.product(range(1, 40), (1, 2, 3, 5, 7), (1, 2, 3, 4), (1, 2, 3))]
    due = [padding.get_same_padding(*each) for each in settings]
    with padded_as_written_short():
        assert [padding.get_same_padding(*each) for each in settings] == due
    assert padding.get_same_padding.__module__ == "timm.layers.padding"


def test_weights_that_cannot_be_fetched_are_said_to_lie_where(no_weights_fetched: None) -> None:
    message = r"weights=imagenet: .*bring https://\S+tf_efficientnet_lite0\S+\.pth and set backbone\.weights=<file>"
    with pytest.raises(InputError, match=message):
        TimmNetwork(name="tf_efficientnet_lite0", weights="imagenet", output_stride=16)
