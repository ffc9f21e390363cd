"""ResNet, DeepLab decoders, whole network and multi-scale inference, against the released numbers where at hand."""

import math
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from small_networks import expected, image, relative_error, released
from torch import Tensor, nn

from dhr.backbone.resnet import ResNet
from dhr.classifier.cam import CamClassifier
from dhr.classifier.none import NoClassifier
from dhr.core.cells import Cells, CentredCells, CornerCells
from dhr.core.errors import InputError
from dhr.decoder.deeplabv1 import DeepLabV1
from dhr.decoder.deeplabv2 import DeepLabV2
from dhr.decoder.deeplabv3plus import DeepLabV3Plus
from dhr.decoder.interface import Decoder
from dhr.disk.weights.state import load_strictly
from dhr.network.multi_scale import multi_scale_probabilities
from dhr.network.released_names import from_released
from dhr.network.segmentation import SegmentationNetwork

SCALES = (1.0, 0.5, 1.5, 2.0)

SMALL = (8, 16, 32, 64)


def network(name: str, *, classes: int, widths: tuple[int, int, int, int] | None = None) -> SegmentationNetwork:
    torch.manual_seed(0)
    backbone = ResNet(name, widths=widths)
    size = {"channels": 16, "low_level_channels": 8} if widths else {}
    decoder = DeepLabV3Plus(backbone_channels=backbone.channels, output_stride=8, num_classes=classes, **size)
    return SegmentationNetwork(backbone, decoder, CamClassifier(backbone.channels[3], classes - 1)).eval()


@cache
def small() -> SegmentationNetwork:
    return network("resnet18", classes=3, widths=SMALL)


@pytest.mark.parametrize("dilation", ["official", "timm"])
@pytest.mark.parametrize("stride", [8, 16])
@pytest.mark.parametrize(
    ("name", "channels"), [("resnet18", (64, 128, 256, 512)), ("resnet50", (256, 512, 1024, 2048))]
)
def test_strides_and_channels(name: str, channels: tuple[int, ...], stride: int, dilation: str) -> None:
    backbone = ResNet(name, output_stride=stride, dilation=dilation).eval()
    assert backbone.channels == channels
    with torch.no_grad():
        maps = backbone(image(50, 64)[None])
    for level, width, step in zip(maps, channels, (4, 8, min(16, stride), min(32, stride)), strict=True):
        assert level.shape == (1, width, math.ceil(50 / step), math.ceil(64 / step))


def dilations(name: str, stride: int, dilation: str) -> dict[str, tuple[int, int]]:
    """Dilation and padding of every 3x3 convolution."""
    layers = ResNet(name, output_stride=stride, dilation=dilation).layers
    convolutions = {key: one for key, one in layers.named_modules() if isinstance(one, nn.Conv2d)}
    return {key: (one.dilation[0], one.padding[0]) for key, one in convolutions.items() if one.kernel_size == (3, 3)}


@pytest.mark.parametrize(
    ("name", "stride", "expected"),
    [
        ("resnet50", 8, {"layer4.0.conv2": 2}),
        ("resnet50", 16, {"layer4.1.conv2": 2, "layer4.2.conv2": 2}),
        ("resnet18", 8, {"layer4.0.conv1": 2}),
        ("resnet18", 16, {"layer4.0.conv2": 2, "layer4.1.conv1": 2, "layer4.1.conv2": 2}),
    ],
)
def test_which_convolutions_the_official_dilation_changes(name: str, stride: int, expected: dict[str, int]) -> None:
    official, common = dilations(name, stride, "official"), dilations(name, stride, "timm")
    changed = {key: common[key][0] for key in common if common[key] != official[key]}
    assert changed == expected
    assert all(official[key] == (1, 1) for key in changed)
    assert all(rate == padding for rate, padding in official.values())
    if stride == 8:
        assert official["layer4.1.conv2"] == (4, 4)
        assert official["layer3.1.conv2"] == (2, 2)


@pytest.mark.parametrize(
    ("stride", "rates"),
    [(8, ([12], [6, 12, 18, 24], [1, 12, 24, 36])), (16, ([6], [3, 6, 9, 12], [1, 6, 12, 18]))],
)
def test_dilation_rates(stride: int, rates: tuple[list[int], ...]) -> None:
    options = {"backbone_channels": SMALL, "output_stride": stride, "num_classes": 5}
    v1, v2, v3 = DeepLabV1(**options, channels=16), DeepLabV2(**options), DeepLabV3Plus(**options, channels=16)
    assert [v1.field[0].dilation[0]] == [v1.field[0].padding[0]] == rates[0] and v1.field[4].p == 0.5
    assert [branch.dilation[0] for branch in v2.branches] == [branch.padding[0] for branch in v2.branches] == rates[1]
    assert [branch[0].dilation[0] for branch in v3.pyramid.branches] == rates[2]
    assert v1.classifier.bias is not None and all(branch.bias is not None for branch in v2.branches)


@pytest.mark.parametrize("decoder", [DeepLabV1, DeepLabV2, DeepLabV3Plus])
def test_coarse_maps_are_refused(decoder: type[Decoder]) -> None:
    with pytest.raises(InputError, match=r"output stride 8 or 16, not 32; use decoder=mask2former"):
        decoder(backbone_channels=SMALL, output_stride=32, num_classes=5)


@pytest.mark.parametrize("stride", [8, 16])
def test_shapes_of_deeplabv3plus(stride: int) -> None:
    decoder = DeepLabV3Plus(backbone_channels=SMALL, output_stride=stride, num_classes=5, channels=16).eval()
    maps = [torch.randn(2, width, *size) for width, size in zip(SMALL, [(13, 18), *[(7, 9)] * 3], strict=True)]
    logits = decoder(tuple(maps)).logits
    assert logits.shape == (2, 5, 13, 18)
    assert decoder.classifier.bias is None


def test_every_weight_gets_a_gradient() -> None:
    net = network("resnet18", classes=3, widths=SMALL).train()
    for norm in (module for module in net.modules() if isinstance(module, nn.BatchNorm2d)):
        nn.init.ones_(norm.weight)  # residual branches start at zero and would pass nothing on
    output = net(torch.randn(2, 3, 32, 48, generator=torch.Generator().manual_seed(0)))
    (output.logits.square().mean() + output.cams.square().mean()).backward()
    assert [name for name, weight in net.named_parameters() if weight.grad is None or not weight.grad.any()] == []
    assert net.decoder.pyramid.project[1].p == net.decoder.refine[1].p == 0.5
    assert net.decoder.refine[3].p == 0.1


@pytest.mark.parametrize("size", [(32, 48), (41, 35), (8, 8)])
def test_shapes_of_the_output(size: tuple[int, int]) -> None:
    with torch.no_grad():
        output = small()(image(*size)[None])
    cells = [math.ceil(side / 8) for side in size]
    assert output.logits.shape == (1, 3, *(math.ceil(side / 4) for side in size))
    assert output.cams.shape == (1, 2, *(max(side // 2, 1) for side in cells))
    assert [level.shape for level in output.features] == [(1, 32, *cells), (1, 64, *cells)]


def test_cams_are_a_linear_map_without_bias() -> None:
    classifier = CamClassifier(6, 4, scale=1.0)
    c5 = torch.randn(2, 6, 3, 5)
    expected = torch.einsum("td,bdhw->bthw", classifier.projection.weight[:, :, 0, 0], c5)
    torch.testing.assert_close(classifier(c5), expected, atol=1e-5, rtol=1e-5)
    assert bool((classifier(torch.zeros(1, 6, 3, 5)) == 0).all())


def test_cams_keep_the_corners_of_c5() -> None:
    c5, classifier = torch.randn(1, 6, 8, 10), CamClassifier(6, 4)
    cams = classifier(c5)
    assert cams.shape == (1, 4, 4, 5)
    torch.testing.assert_close(cams[..., ::3, ::4], classifier.projection(c5[..., ::7, ::9]), atol=1e-5, rtol=1e-5)


def aligned(values: Tensor, size: tuple[int, int]) -> Tensor:
    return nn.functional.interpolate(values, size, mode="bilinear", align_corners=True)


def with_cells(cells: Cells) -> SegmentationNetwork:
    net = network("resnet18", classes=3, widths=SMALL)
    net.cells = cells
    return net


def test_released_scales_meet_on_the_grid_of_the_logits() -> None:
    picture, views = image(33, 50)[None], []
    for size in [(33, 50), (16, 25), (49, 75)]:
        with torch.no_grad():
            views.append(aligned(small()(aligned(picture, size)).logits.softmax(1), (9, 13)))
    expected = aligned(sum(views) / 3, (33, 50))[0]
    made = multi_scale_probabilities(with_cells(CornerCells()), picture[0], scales=(1.0, 0.5, 1.5), flip=False)
    torch.testing.assert_close(made, expected)


@pytest.mark.parametrize("cells", [CentredCells(), CornerCells()])
def test_one_scale_is_the_soft_max_of_the_logits(cells: Cells) -> None:
    net, aligned_corners = with_cells(cells), cells == CornerCells()
    with torch.no_grad():
        logits = net(image(32, 48)[None]).logits
        wide = nn.functional.interpolate(logits.softmax(1), (32, 48), mode="bilinear", align_corners=aligned_corners)[0]
    torch.testing.assert_close(multi_scale_probabilities(net, image(32, 48), scales=(1.0,), flip=False), wide)


@pytest.mark.parametrize("size", [(32, 48), (33, 50), (7, 90)])
def test_probabilities_sum_to_one(size: tuple[int, int]) -> None:
    scales = (0.5, 1.0, 1.5)
    straight = multi_scale_probabilities(small(), image(*size), scales=scales, flip=True)
    assert straight.shape == (3, *size)
    torch.testing.assert_close(straight.sum(0), torch.ones(size))
    unflipped = multi_scale_probabilities(small(), image(*size), scales=scales, flip=False)
    assert float((unflipped - straight).abs().max()) > 1e-4


@pytest.mark.parametrize("cells", [CentredCells(), CornerCells()])
def test_mirrored_images_have_mirrored_probabilities(cells: Cells) -> None:
    net = with_cells(cells)
    for width in (48, 90) if cells == CornerCells() else (48,):  # 90 is no multiple of the stride
        straight = multi_scale_probabilities(net, image(35, width), scales=(0.5, 1.0, 1.5), flip=True)
        mirrored = multi_scale_probabilities(net, image(35, width).flip(-1), scales=(0.5, 1.0, 1.5), flip=True)
        torch.testing.assert_close(mirrored.flip(-1), straight, atol=1e-5, rtol=0)


def torchvision_like(file: Path) -> dict[str, Tensor]:
    state = {key: torch.randn_like(value.float()) for key, value in ResNet("resnet18").layers.state_dict().items()}
    torch.save({**state, "fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}, file)
    return state


def test_weights_from_a_file(tmp_path: Path) -> None:
    state = torchvision_like(tmp_path / "weights.pth")
    loaded = ResNet("resnet18", weights=str(tmp_path / "weights.pth")).layers.state_dict()
    assert all(torch.equal(loaded[key].float(), state[key].to(loaded[key].dtype).float()) for key in loaded)


def test_missing_weight_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"{tmp_path}/weights\.pth: no such file"):
        ResNet("resnet18", weights=str(tmp_path / "weights.pth"))


@pytest.mark.parametrize("torn", [True, False])
def test_broken_weight_files_are_named(tmp_path: Path, torn: bool) -> None:
    path = tmp_path / "weights.pth"
    if torn:
        torchvision_like(path)
        path.write_bytes(path.read_bytes()[:10000])
    else:
        torch.save(nn.Linear(2, 2).state_dict(), path)
    with pytest.raises(InputError, match=rf"{path}: .*{'read' if torn else 'does not fit'}"):
        ResNet("resnet18", weights=str(path))


def released_network(shared: Path, name: str, backbone: str, decoder: type[Decoder], *, cams: bool) -> Any:
    """Our network with the weights of the released one, and what that made of its image."""
    body = ResNet(backbone)
    head = decoder(backbone_channels=body.channels, output_stride=8, num_classes=21)
    net = SegmentationNetwork(body, head, CamClassifier(2048, 20) if cams else NoClassifier(2048, 20)).eval()
    load_strictly(net, from_released(released(shared, name)), Path(name))
    net.cells = CornerCells()
    return net, expected(shared, name)


@pytest.mark.slow
def test_the_released_network(shared: Path) -> None:
    net, theirs = released_network(shared, "dhr_resnet101_voc", "resnet101", DeepLabV3Plus, cams=True)
    picture = torch.from_numpy(theirs["image"])
    with torch.no_grad():
        output, c2 = net(picture), net.backbone(picture)[0]
    maps = {"logits": output.logits, "cams": output.cams, "c2": c2, "c4": output.features[0], "c5": output.features[1]}
    error = {name: relative_error(one[:, : theirs[name].shape[1]], theirs[name]) for name, one in maps.items()}
    probabilities = multi_scale_probabilities(net, picture[0], scales=SCALES, flip=True)
    error["probabilities"] = relative_error(probabilities, theirs["multiscale_probabilities"])
    total, scores = multi_scale_cams(net, picture[0])
    # Each class is divided by its own strength. Compared is what was divided: a weak class has the noise of the others.
    strength = total.amax((1, 2), keepdim=True) + 1e-5
    error["multi-scale cams"] = relative_error(total, theirs["multiscale_cam"] * strength.numpy())
    error["scores"] = relative_error(scores, theirs["multiscale_class_scores"])
    assert max(error.values()) < 1e-4, error


@torch.no_grad()
def multi_scale_cams(net: SegmentationNetwork, picture: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of the CAMs over scales and flips, as the samples describe it, and the tag probabilities at scale 1."""
    views, scores = [], None
    for scale in SCALES:
        size = (int(picture.shape[-2] * scale), int(picture.shape[-1] * scale))
        view = aligned(picture[None], size)
        cams = net(torch.cat([view, view.flip(-1)])).cams
        scores = cams.mean((0, 2, 3)).sigmoid() if scores is None else scores
        grid = (views[0].shape[-2], views[0].shape[-1]) if views else (cams.shape[-2], cams.shape[-1])
        wide = aligned(cams, grid).relu()
        views += [wide[0], wide[1].flip(-1)]
    assert scores is not None
    return torch.stack(views).sum(0), scores


@pytest.mark.parametrize(
    ("name", "decoder"),
    [("deeplabv1", DeepLabV1), ("deeplabv2", DeepLabV2), ("deeplabv3plus", DeepLabV3Plus)],
)
def test_the_released_decoders(shared: Path, name: str, decoder: type[Decoder]) -> None:
    net, theirs = released_network(shared, f"{name}_resnet50", "resnet50", decoder, cams=False)
    picture = torch.from_numpy(theirs["image"])
    with torch.no_grad():
        error = {"logits": relative_error(net(picture).logits, theirs["logits"])}
    probabilities = multi_scale_probabilities(net, picture[0], scales=SCALES, flip=True)
    error["probabilities"] = relative_error(probabilities, theirs["multiscale_probabilities"])
    assert max(error.values()) < 1e-4, error
