"""Every backbone with every decoder: forward, backward, save and load; every data set; what does not go together."""

from copy import deepcopy
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from small_networks import image, target, words

from dhr.config.compose import compose
from dhr.config.parts import check_signatures
from dhr.config.tree import options
from dhr.core.errors import InputError
from dhr.dataset.classes import ClassTable, load_classes
from dhr.disk.weights.state import load_strictly
from dhr.network.precision import mixed
from dhr.network.segmentation import SegmentationNetwork
from dhr.network.weights import network_weights
from dhr.stage.parts import build_network

SIDE = 64
VOC = load_classes("voc")


def fits(backbone: str, decoder: str) -> bool:
    if target("decoder", decoder) == "Eomt":
        return target("backbone", backbone) == "Vit"
    return target("backbone", backbone) != "Swin" or target("decoder", decoder) == "Mask2Former"


def one_of_each_class(group: str) -> list[str]:
    """Options of one class differ in numbers, and those that make a network large are shrunk here."""
    return [*{target(group, option): option for option in options(group)}.values()]


PAIRS = sorted(
    {
        *product(options("backbone"), one_of_each_class("decoder")),
        *product(one_of_each_class("backbone"), options("decoder")),
    }
)
FITTING = [pair for pair in PAIRS if fits(*pair)]


def small_network(backbone: str, decoder: str, *extra: str) -> tuple[Any, SegmentationNetwork]:
    cfg = compose("train", words(backbone, decoder, *extra))
    check_signatures(cfg)
    torch.manual_seed(0)
    return cfg, build_network(cfg, VOC)


@pytest.mark.parametrize(("backbone", "decoder"), FITTING)
def test_networks_learn_and_are_kept(backbone: str, decoder: str, tmp_path: Path) -> None:
    cfg, network = small_network(backbone, decoder)
    check_network(network, VOC, cfg.dataset.cam_scale)
    path = tmp_path / "weights.safetensors"
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, path)
    second = deepcopy(network)
    for value in second.state_dict().values():
        value.zero_()
    load_strictly(second, network_weights(path), path)
    with torch.no_grad():
        first, again = (each.eval()(image(SIDE, SIDE)[None]) for each in (network, second))
    assert torch.equal(first.logits, again.logits) and torch.equal(first.cams, again.cams)
    with torch.no_grad(), mixed("bf16", torch.device("cpu")):
        half = network(image(SIDE, SIDE)[None]).logits.float()
    assert 0 < float((half - first.logits).norm()) < 0.02 * float(first.logits.norm())  # the most of all pairs is .0102


@pytest.mark.parametrize("pair", [pair for pair in PAIRS if not fits(*pair)])
def test_what_does_not_go_together_is_refused_at_once(pair: tuple[str, str]) -> None:
    said = r"needs a backbone of output stride 8 or 16.*decoder=mask2former.*resnet101"
    if target("decoder", pair[1]) == "Eomt":
        said = r"needs the blocks of a vision transformer; use one of backbone=dinov2_base.*dinov3_large.*vit_small"
    with pytest.raises(InputError, match=said):
        compose("train", words(*pair))


@pytest.mark.parametrize("decoder", options("decoder"))
def test_every_decoder_does_without_class_activation_maps(decoder: str) -> None:
    backbone = "resnet18" if fits("resnet18", decoder) else "vit_small"
    _, network = small_network(backbone, decoder, "classifier=none", "rebalancing=none")
    output = network(torch.stack([image(SIDE, SIDE)] * 2))
    assert output.cams.shape[1] == 0
    valid, tags = torch.ones(2, SIDE, SIDE, dtype=torch.bool), torch.eye(VOC.num_tags)[:2]
    assert float(network.classifier.loss(output, valid, tags)) == 0
    assert not any(name.startswith("classifier.") for name in network.state_dict())


@pytest.mark.parametrize("dataset", [name for name in options("dataset") if not name.startswith("folder")])
def test_networks_speak_of_the_classes_of_every_data_set(dataset: str) -> None:
    cfg = compose("train", [f"dataset={dataset}", "backbone=resnet18_half"])
    table = load_classes(cfg.dataset.classes)
    assert len(table.names) == len(set(table.names)) == len(table.palette)
    check_network(build_network(cfg, table), table, cfg.dataset.cam_scale)


def check_network(network: SegmentationNetwork, table: ClassTable, cam_scale: float) -> None:
    """Shapes of all maps, and a gradient for every weight that is to learn."""
    backbone: Any = network.backbone
    output = network(torch.stack([image(SIDE, SIDE), image(SIDE, SIDE).flip(-1)]))
    stride = network.decoder.stride
    cells = int(SIDE // backbone.output_stride * cam_scale)
    assert output.logits.shape == (2, table.num_classes, SIDE // stride, SIDE // stride)
    assert output.cams.shape == (2, table.num_tags, cells, cells)
    for features, width, most in zip(output.features, backbone.channels[2:], (16, 32), strict=True):
        side = SIDE // min(backbone.output_stride, most)
        assert features.shape == (2, width, side, side)
    labels = torch.randint(0, table.num_classes, (2, SIDE, SIDE), generator=torch.Generator().manual_seed(1))
    labels[:, :8] = 255
    valid, tags = torch.ones(2, SIDE, SIDE, dtype=torch.bool), torch.eye(table.num_tags)[:2]
    (network.decoder.loss(output, labels) + network.classifier.loss(output, valid, tags)).backward()
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and bool(torch.isfinite(parameter.grad).all()), name
    for part in (network.backbone, network.decoder, network.classifier):
        assert any(bool((each.grad != 0).any()) for each in part.parameters() if each.grad is not None)
