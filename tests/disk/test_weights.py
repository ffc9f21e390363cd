"""Files of weights: whose they are, what fits, what is wrong with those that do not, and what is never opened."""

import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from several import outcomes
from small_networks import released, target, words
from tiny import NETWORK, ROOT, Tiny
from torch import Tensor

from dhr.config.compose import compose
from dhr.config.tree import options
from dhr.core.cells import Cells, CentredCells, CornerCells
from dhr.core.errors import InputError
from dhr.dataset.classes import load_classes
from dhr.disk.mask import read_mask
from dhr.disk.weights.state import load_strictly, read_weights
from dhr.network.released_names import are_released, from_released, to_released
from dhr.network.segmentation import SegmentationNetwork
from dhr.network.weights import load_network, network_weights, read_network
from dhr.stage.parts import build_network

State = dict[str, Tensor]
RELEASED = ("dhr_resnet101_voc", "deeplabv1_resnet50", "deeplabv2_resnet50", "deeplabv3plus_resnet50")


@cache
def network(*chosen: str, dataset: str = "voc") -> SegmentationNetwork:
    return build_network(compose("train", [*chosen, f"dataset={dataset}"]), load_classes(dataset))


def small(decoder: str = "deeplabv3plus", *extra: str, dataset: str = "voc") -> SegmentationNetwork:
    return network(*words("resnet18", decoder, *extra)[1:], dataset=dataset)


def state_of(net: SegmentationNetwork) -> State:
    return {name: value.clone() for name, value in net.state_dict().items()}


# Whose they are


@pytest.mark.parametrize("name", RELEASED)
def test_released_names_both_ways(shared: Path, name: str) -> None:
    theirs = released(shared, name)
    ours = from_released(theirs)
    assert are_released(theirs) and not are_released(ours) and len(ours) == len(theirs)
    back = to_released(ours)
    assert [*back] == [*theirs] and all(torch.equal(back[key], theirs[key]) for key in theirs)


@pytest.mark.parametrize("decoder", [option for option in options("decoder") if option.startswith("deeplab")])
def test_every_parameter_of_ours_has_a_released_name(decoder: str) -> None:
    ours = state_of(small(decoder))
    theirs = to_released(ours)
    assert {name.partition(".")[0] for name in theirs} == {"model", "seg_decoder", "classifier"}
    assert [*from_released(theirs)] == [*ours]


def test_parts_that_were_never_released_are_named() -> None:
    with pytest.raises(InputError, match=r"decoder\.layers\..*: no released network has such a part"):
        to_released(state_of(small("mask2former")))


def written(path: Path, form: str) -> Path:
    """The same small network, as others and we write it."""
    own = state_of(small())
    forms: dict[str, Any] = {
        "released": to_released(own),
        "released, parallel": {f"module.{name}": value for name, value in to_released(own).items()},
        "plain": own,
        "checkpoint": {
            "state_dict": {**{f"network.{name}": value for name, value in own.items()}, "histogram.x": torch.ones(2)},
            "epoch": 3,
        },
        "wrapped": {"state_dict": to_released(own)},
        "without counters": {name: each for name, each in own.items() if not name.endswith("num_batches_tracked")},
        "safetensors": own,
        "released safetensors": to_released(own),
    }
    path = path / ("weights.safetensors" if "safetensors" in form else "weights.pth")
    kept = {name: each.contiguous() for name, each in forms[form].items()} if path.suffix == ".safetensors" else None
    torch.save(forms[form], path) if kept is None else save_file(kept, path)
    return path


FORMS = ("released", "released, parallel", "plain", "checkpoint", "wrapped", "without counters", "safetensors")


@pytest.mark.parametrize("form", [*FORMS, "released safetensors"])
def test_the_names_tell_who_wrote_a_file(tmp_path: Path, form: str) -> None:
    path = written(tmp_path, form)
    other = build_network(compose("train", words("resnet18", "deeplabv3plus", "seed=2")), load_classes("voc"))
    load_strictly(other, network_weights(path), path)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in small().state_dict().items())


@pytest.mark.parametrize(
    ("form", "cells"),
    [
        ("released", CornerCells()),
        ("wrapped", CornerCells()),
        ("checkpoint", CentredCells()),
        ("safetensors", CentredCells()),
    ],
)
def test_the_names_tell_where_the_cells_lie(tmp_path: Path, form: str, cells: Cells) -> None:
    other = build_network(compose("train", words("resnet18", "deeplabv3plus", "seed=2")), load_classes("voc"))
    assert other.cells == CentredCells()
    load_network(other, written(tmp_path, form))
    assert other.cells == cells
    # An export says it, under whichever names.
    own, file = small().state_dict(), tmp_path / "said.safetensors"
    for names in (own, to_released(own)):
        save_file({name: value.contiguous() for name, value in names.items()}, file, {"cells": "corners"})
        assert read_network(file).cells == CornerCells()
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in small().state_dict().items())


# What is wrong with them


def misfit(own: SegmentationNetwork, found: State) -> str:
    with pytest.raises(InputError, match=r"^w\.pth: does not fit this network: .*; likely cause: ") as caught:
        load_strictly(own, found, Path("w.pth"))
    return str(caught.value)


CAUSES = [
    (
        lambda: state_of(small(dataset="coco")),
        "it has 81 classes in decoder.classifier, this has 21: name its dataset=",
    ),
    (lambda: state_of(small("deeplabv2")), "it looks like decoder=deeplabv2, this is decoder=deeplabv3plus"),
    (lambda: state_of(small("deeplabv1")), "it looks like decoder=deeplabv1, this is decoder=deeplabv3plus"),
    (lambda: state_of(small("mask2former")), "it looks like decoder=mask2former, this is decoder=deeplabv3plus"),
    (
        lambda: state_of(network(*words("vit_small", "eomt")[1:])),
        "it looks like decoder=eomt, this is decoder=deeplabv3plus",
    ),
    (
        lambda: state_of(small("deeplabv3plus", "classifier=none", "rebalancing=none")),
        "it looks like classifier=none, this is classifier=cam",
    ),
    (
        lambda: state_of(small("deeplabv3plus", "decoder.low_level_channels=4")),
        "the same kind of decoder with other widths",
    ),
    (lambda: {"weight": torch.ones(2)}, "are these the weights of another program?"),
]


@pytest.mark.parametrize(("found", "cause"), CAUSES)
def test_the_likely_cause_is_named(found: Any, cause: str) -> None:
    assert cause in misfit(small(), found())


@pytest.mark.parametrize("option", options("backbone"))
def test_other_backbones_are_recognised(option: str) -> None:
    decoder = "mask2former" if target("backbone", option) == "Swin" else "deeplabv2"
    chosen = ["dataset=voc", f"backbone={option}", "backbone.weights=null", f"decoder={decoder}"]
    with torch.device("meta"):
        found = build_network(compose("train", chosen), load_classes("voc")).state_dict()
    own = small("deeplabv2") if option != "resnet18" else network("backbone=resnet34", "backbone.weights=null")
    said = misfit(own, found)
    if option == "resnet18_half":  # a ResNet-18 of other widths
        assert "the same kind of backbone with other widths" in said
    else:
        name = "timm" if target("backbone", option) == "TimmNetwork" else option
        assert f"it looks like backbone={name}, this is backbone=resnet" in said


def test_names_are_listed_and_the_others_counted() -> None:
    found = state_of(small())
    for name in [name for name in found if name.startswith("backbone.layers.layer3.")]:
        found[f"x{name}"] = found.pop(name)
    found["classifier.projection.weight"] = torch.ones(7, 8, 1, 1)
    said = misfit(small(), found)
    assert "20 missing: backbone.layers.layer3.0.bn1.bias, " in said and " and 14 more; 24 unexpected: " in said
    assert "1 misshapen: classifier.projection.weight (7, 8, 1, 1) instead of (20, 8, 1, 1)" in said
    assert "it has 7 classes in classifier.projection, this has 20" in said


def test_the_output_stride_is_seen_only_where_a_shortcut_depends_on_it() -> None:
    equal = small("deeplabv3plus", "backbone.output_stride=16")  # widths that do not change need no convolution there
    assert "missing: backbone.layers.layer3.0.downsample.0.weight" in misfit(equal, state_of(small()))
    assert "likely cause: another backbone.output_stride" in misfit(equal, state_of(small()))
    growing = [network("backbone=resnet18_half", f"backbone.output_stride={stride}") for stride in (8, 16)]
    load_strictly(growing[0], growing[1].state_dict(), Path("w.pth"))


# What is never opened


class Bomb:
    """Runs a command when it is unpickled."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.sentinel}",)


def bomb(path: Path) -> None:
    torch.save({"model.conv1.weight": Bomb(path.parent / "went_off")}, path)


def torn(path: Path) -> None:
    torch.save(state_of(small()), path)
    path.write_bytes(path.read_bytes()[:5000])


HOSTILE = [
    (bomb, "it cannot be read safely"),
    (torn, "it cannot be read safely"),
    (
        lambda path: path.write_text("\n<!DOCTYPE html><html>Quota exceeded</html>"),
        "a web page; fetch or make it again",
    ),
    (lambda path: path.write_bytes(b""), "it cannot be read safely"),
    (lambda path: torch.save([torch.ones(1)], path), "holds a list, not a checkpoint"),
    (lambda path: torch.save({}, path), "not a plain state dict of tensors"),
    (lambda path: torch.save({"epoch": 3, "model": {"weight": torch.ones(1)}}, path), "not a plain state dict"),
    (lambda path: torch.save({"state_dict": 3}, path), "not a plain state dict"),
    (lambda path: torch.save({3: torch.ones(1)}, path), "not a plain state dict"),
]


@pytest.mark.parametrize(("write", "said"), HOSTILE)
def test_files_that_are_no_weights(tmp_path: Path, write: Any, said: str) -> None:
    path = tmp_path / "weights.pth"
    write(path)
    with pytest.raises(InputError, match=rf"{path}: .*{said}"):
        network_weights(path)
    assert not (tmp_path / "went_off").exists()


@pytest.mark.parametrize("write", [bomb, torn, lambda path: path.write_text("<html>")])
def test_files_that_are_no_safetensors(tmp_path: Path, write: Any) -> None:
    path = tmp_path / "weights.safetensors"
    write(path)
    with pytest.raises(InputError, match=rf"{path}: no whole weights"):
        read_weights(path)
    assert not (tmp_path / "went_off").exists()


# From a run to a file and back


@pytest.fixture(scope="module")
def trained(tiny: Tiny) -> Tiny:
    tiny.call("train", "wss=cam", "rebalancing=none", "name=exported")
    tiny.call("predict", f"run={tiny.run('exported').root}", "crf=none")
    return tiny


def exported(*arguments: str) -> tuple[list[int | None], str]:
    return outcomes([sys.executable, str(ROOT / "scripts" / "export_weights.py"), *arguments])


@pytest.mark.parametrize("words", [(), ("--released",)])
def test_an_export_predicts_the_same_masks(trained: Tiny, tmp_path: Path, words: tuple[str, ...]) -> None:
    run, path = trained.run("exported"), tmp_path / f"weights{len(words)}.safetensors"
    codes, said = exported(str(run.root), str(path), *words)
    assert codes == [0], said
    assert are_released(load_file(path)) == bool(words)
    trained.call("predict", f"weights={path}", *NETWORK, "crf=none", "dataset.image_size=48")
    (named,) = (trained.root / "outputs" / "toy" / "weights").glob(f"{path.stem}-*")
    folder = named / "masks" / "validation"
    ids = trained.layout.ids("validation")
    masks = [((folder / f"{image_id}.png"), run.masks("validation") / f"{image_id}.png") for image_id in ids]
    assert ids and all(ours.read_bytes() == theirs.read_bytes() for ours, theirs in masks)
    assert len({read_mask(ours).tobytes() for ours, _ in masks}) > 1


def test_exports_that_cannot_be_made(trained: Tiny, tmp_path: Path) -> None:
    assert exported(str(trained.run("exported").root), str(tmp_path / "weights.pth")) == (
        [2], f"{tmp_path}/weights.pth: not a name for such weights; use {tmp_path}/weights.safetensors\n",
    )  # fmt: skip
    codes, said = exported(str(tmp_path), str(tmp_path / "weights.safetensors"))
    assert codes == [2] and "no such checkpoint" in said
    assert not [*tmp_path.iterdir()]


def test_weights_of_another_decoder_stop_predict(trained: Tiny, tmp_path: Path) -> None:
    path = trained.run("exported").last
    words = [word for word in NETWORK if not word.startswith("decoder.")]
    with pytest.raises(
        InputError, match=r"likely cause: it looks like decoder=deeplabv3plus, this is decoder=deeplabv2"
    ):
        trained.call("predict", f"weights={path}", *words, "decoder=deeplabv2", "crf=none")
    assert not [*(trained.root / "outputs" / "toy").glob("weights/last*")]
