"""Programs of `dhr.export`, *.pt2 and *.onnx: they answer as the network does, and predict in its place."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from exporting import export, scored_run, two_pictures
from pages import run_examples
from small_networks import image
from small_networks import words as small
from tiny import DATASET, Tiny
from transformers.models.mask2former import modeling_mask2former
from untrained import untrained_run

import dhr
from dhr.config.compose import compose
from dhr.config.relations import SUFFIXES
from dhr.core.errors import InputError
from dhr.disk.layout import RunFolder
from dhr.disk.mask import read_mask
from dhr.network.exported import FORMATS, Exportable, in_words, is_alone, largest_difference, traced
from dhr.stage.export import TOLERANCE

ROOT = Path(__file__).resolve().parents[2]
PLAIN = ("rebalancing=none", "classifier=none", "crf=none")
VIEWS = ((1, 97, 130), (2, 64, 95), (1, 33, 160), (3, 96, 128))  # batches and sizes, none of which an export has seen


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return two_pictures(tmp_path_factory.mktemp("photographs"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return scored_run(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def files(run: RunFolder, photographs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The run in every format."""
    folder = tmp_path_factory.mktemp("files")
    made = {kind: folder / f"model{suffix}" for kind, suffix in SUFFIXES.items()}
    for kind, file in made.items():
        export(run, photographs, f"format={kind}", f"output={file}")
    return made


def test_the_page_shows_what_happens(
    files: dict[str, Path], photographs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (*files.values(), photographs[0]):
        shutil.copy(path, tmp_path)
    monkeypatch.chdir(tmp_path)
    run_examples(ROOT / "docs" / "export.md")


@pytest.mark.parametrize("kind", sorted(FORMATS))
def test_an_export_answers_as_the_network_does(run: RunFolder, files: dict[str, Path], kind: str) -> None:
    network = dhr.load(run.root, device="cpu").predictor.network
    answer, own = FORMATS[kind].opened(files[kind].read_bytes(), network), Exportable(network).eval()
    with torch.no_grad():
        for batch, height, width in VIEWS:
            view = image(height, width).expand(batch, 3, height, width)
            logits, probabilities = answer(view)
            assert logits.shape[:2] == probabilities.shape[:2] == (batch, len(dhr.load(run.root).names))
            assert probabilities.shape[2:] == (height, width)
            assert largest_difference((logits, probabilities), own(view)) <= TOLERANCE


def test_a_program_predicts_as_the_run(
    run: RunFolder, files: dict[str, Path], photographs: list[Path], tmp_path: Path
) -> None:
    """With all scales and mirror images, and as a command too."""
    scales = {"scales": [0.5, 1.0], "flip": True}
    found, due = dhr.load(files["onnx"], **scales), dhr.load(run.root, **scales)
    assert found.table.names == due.table.names and found.table.palette == due.table.palette
    for path in photographs:
        theirs, ours = found.predict(path), due.predict(path)
        np.testing.assert_allclose(theirs.probabilities, ours.probabilities, atol=TOLERANCE)
        assert (theirs.mask == ours.mask).mean() > 0.999
    words = [f"weights={files['onnx']}", f"images={photographs[1]}", "scales=[0.5,1.0]", f"output={tmp_path}"]
    Tiny(tmp_path).call("predict", *words)
    np.testing.assert_array_equal(read_mask(tmp_path / "masks" / "b.png"), found.predict(photographs[1]).mask)


def test_what_a_program_is_not(run: RunFolder, files: dict[str, Path], photographs: list[Path], tmp_path: Path) -> None:
    for verb in ("export", "labels"):
        with pytest.raises(InputError, match=r"model.onnx: a program and no weights; use the run, or its"):
            compose(verb, [f"weights={files['onnx']}"])
    with pytest.raises(InputError, match="precision: bf16: a program computes as it was exported; leave it out"):
        dhr.load(files["onnx"], precision="bf16")
    (tmp_path / "torn.onnx").write_bytes(files["onnx"].read_bytes()[:1000])
    with pytest.raises(InputError, match=r"torn.onnx: no whole ONNX file"):
        dhr.load(tmp_path / "torn.onnx")
    other = onnx.load(files["onnx"])
    del other.metadata_props[:]
    onnx.save(other, tmp_path / "other.onnx")
    with pytest.raises(InputError, match=r"other.onnx: not of dhr.export"):
        dhr.load(tmp_path / "other.onnx", dataset="toy")
    export(run, photographs, "format=onnx", "size=[48,64]", f"output={tmp_path / 'one.onnx'}")
    model = dhr.load(tmp_path / "one.onnx", scales=[1.0])
    np.testing.assert_allclose(
        model.predict(photographs[1]).probabilities,
        dhr.load(run.root, scales=[1.0]).predict(photographs[1]).probabilities, atol=TOLERANCE,
    )  # fmt: skip
    with pytest.raises(InputError, match=r"one.onnx: is for images of 48 x 64 alone, not of 60 x 85; resize"):
        model.predict(photographs[0])


@pytest.mark.slow
def test_mask2former_is_for_one_image_of_any_size(tmp_path: Path) -> None:
    run = untrained_run(tmp_path / "run", *DATASET, *small("resnet18", "mask2former", "dataset=toy", *PLAIN))
    network = dhr.load(run.root, device="cpu").predictor.network
    program = traced(network, None).module()
    with torch.no_grad():
        for _, height, width in VIEWS:
            view = image(height, width)[None]
            assert largest_difference(program(view), Exportable(network).eval()(view)) <= TOLERANCE
    assert in_words(network, None, alone=is_alone(network, None))["input"]["shape"] == "(1,3,H,W) float32"
    assert vars(modeling_mask2former)["torch"] is torch


def test_a_file_for_one_size(run: RunFolder, photographs: list[Path], tmp_path: Path) -> None:
    file = tmp_path / "model.pt2"
    export(run, photographs, "format=torch_export", f"output={file}", "size=[64,96]")
    network = dhr.load(run.root).predictor.network
    answer = FORMATS["torch_export"].opened(file.read_bytes(), network)
    with torch.no_grad():
        view = image(64, 96)[None]
        assert largest_difference(answer(view), Exportable(network).eval()(view)) <= TOLERANCE
        with pytest.raises(AssertionError, match="Guard failed|size"):
            answer(image(64, 97)[None])


def test_a_network_that_cannot_be_written_for_any_size(
    run: RunFolder, photographs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = Exportable.forward

    def of_its_pixels(self: Exportable, image: torch.Tensor) -> Any:
        return forward(self, image) if float(image.mean()) > 0 else forward(self, -image)

    monkeypatch.setattr(Exportable, "forward", of_its_pixels)
    told = r"size: null: \S+ \S+ cannot be written as torch_export for images of any size: .*as size=\[512,512\]"
    with pytest.raises(InputError, match=told):
        export(run, photographs, "format=torch_export", f"output={tmp_path / 'model.pt2'}")
    assert not [*tmp_path.iterdir()]


def test_a_missing_package(run: RunFolder, photographs: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dhr.network.exported.find_spec", lambda name: None if name == "onnxscript" else object())
    with pytest.raises(InputError, match=r"onnx: needs onnxscript, .*; pip install onnxscript, or .*dhr\[export\]"):
        export(run, photographs, "format=onnx", "output=never.onnx")
