"""`dhr.export`: files that answer as the network does, say what they are, and can be used again."""

import json
import logging
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from pages import run_examples
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from small_networks import image
from small_networks import words as small
from tiny import DATASET, Tiny
from transformers.models.mask2former import modeling_mask2former
from untrained import untrained_run

import dhr
from dhr.config.compose import compose
from dhr.config.exported import stated
from dhr.config.relations import SUFFIXES
from dhr.core.errors import InputError
from dhr.disk.atomic import write_json
from dhr.disk.layout import RunFolder
from dhr.disk.mask import read_mask
from dhr.export import main
from dhr.network.exported import FORMATS, Exportable, in_words, is_alone, largest_difference, traced
from dhr.stage.export import TOLERANCE

ROOT = Path(__file__).resolve().parents[2]
PLAIN = ("rebalancing=none", "classifier=none", "crf=none")
VIEWS = ((1, 97, 130), (2, 64, 95), (1, 33, 160), (3, 96, 128))  # batches and sizes, none of which an export has seen


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder, random = tmp_path_factory.mktemp("photographs"), np.random.default_rng(0)
    paths = [folder / "a.jpg", folder / "b.png"]
    for path, size in zip(paths, ((60, 85), (48, 64)), strict=True):
        Image.fromarray(random.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)
    return paths


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    run = untrained_run(tmp_path_factory.mktemp("runs") / "mine")
    write_json(run.scores("validation"), {"split": "validation", "images": 4, "miou": 12.3456, "classes": {}})
    return run


def export(run: RunFolder, photographs: list[Path], *words: str) -> None:
    main.run(compose("export", [f"run={run.root}", f"images=[{','.join(map(str, photographs))}]", *words]))


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


def test_the_end_says_what_was_compared(
    run: RunFolder, photographs: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "dhr.export"):
        export(run, photographs, f"output={tmp_path / 'model.safetensors'}")
    assert re.search(
        r"model\.\w+: [01]\.\d MB; on 2 images at two sizes it differs from the network by at most", caplog.text
    )


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


def test_the_file_of_weights_is_the_run(run: RunFolder, photographs: list[Path], tmp_path: Path) -> None:
    export(run, photographs, f"output={tmp_path / 'model.safetensors'}")
    first, second = dhr.load(run.root), dhr.load(tmp_path / "model.safetensors")
    assert first.table.names == second.table.names and first.table.palette == second.table.palette
    for path in photographs:
        found, due = second.predict(path), first.predict(path)
        np.testing.assert_array_equal(found.probabilities, due.probabilities)
        np.testing.assert_array_equal(found.mask, due.mask)


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


def test_commands_take_the_network_from_the_file(
    tiny: Tiny, run: RunFolder, photographs: list[Path], tmp_path: Path
) -> None:
    file, other = tmp_path / "model.safetensors", tmp_path / "again.safetensors"
    export(run, photographs, f"output={file}")
    cfg = compose("predict", [f"weights={file}", f"paths.data={tiny.root / 'data'}"])
    assert list(cfg.backbone.widths) == [8, 16, 32, 64] and cfg.crf._target_.endswith(".NoCrf")
    assert compose("predict", [f"weights={file}", "crf=torch"]).crf._target_.endswith(".TorchCrf")
    tiny.call("predict", f"weights={file}", f"paths.outputs={tmp_path}")
    assert len([*tmp_path.glob("toy/weights/model-*/masks/validation/*.png")]) == 4
    main.run(compose("export", tiny.words("predict", f"weights={file}", f"output={other}")))  # on the validation split
    assert {name: value.tolist() for name, value in load_file(other).items()} == {
        name: value.tolist() for name, value in load_file(file).items()
    }
    first, second = stated(file), stated(other)
    assert first is not None and second is not None
    assert second.entries["provenance"]["saw"] == first.entries["provenance"]["saw"]


def test_a_file_says_what_it_is(run: RunFolder, photographs: list[Path], tmp_path: Path) -> None:
    export(run, photographs, f"output={tmp_path / 'model.safetensors'}")
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        entries = json.loads(file.metadata()["dhr"])
    assert entries["classes"]["names"] == list(dhr.load(run.root).names)
    assert entries["input"]["mean"] == [0.485, 0.456, 0.406] and entries["input"]["shape"] == "(B,3,H,W) float32"
    assert {*entries["outputs"]} == {"logits", "probabilities"} and (entries["stride"], entries["cells"]) == (
        4,
        "centred",
    )
    assert entries["provenance"]["scores"] == [{"split": "validation", "images": 4, "miou": 12.3456}]
    assert entries["provenance"]["saw"]["backbone"] == "nothing"
    assert str(tmp_path) not in json.dumps(entries["settings"])


def test_a_folder_is_ready_for_the_hub(run: RunFolder, photographs: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "my-model"
    export(run, photographs, f"output={folder}")
    assert {path.name for path in folder.iterdir()} == {"model.safetensors", "config.json", "README.md"}
    said = (folder / "README.md").read_text()
    for due in ("library_name: dhr", "# my-model", "`12.346`", "weights of backbone saw: nothing", "- seed: `1`"):
        assert due in said
    assert json.loads((folder / "config.json").read_text())["classes"]["names"] == list(dhr.load(folder).names)


def test_weights_come_from_the_hub(
    run: RunFolder, photographs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache of the hub's own library, as a download leaves it, and no network."""
    home = tmp_path / "models--someone--my-model"
    export(run, photographs, f"output={home / 'snapshots' / ('a' * 40)}")
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text("a" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path), raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    found = dhr.load("hf://someone/my-model", device="cpu").predict(photographs[0])
    np.testing.assert_array_equal(found.mask, dhr.load(run.root).predict(photographs[0]).mask)
    cfg = compose("predict", ["weights=hf://someone/my-model"])
    assert cfg.weights.endswith("model.safetensors") and list(cfg.backbone.widths) == [8, 16, 32, 64]
    with pytest.raises(InputError, match=r"hf://someone/other: not fetched yet, and the hub cannot be reached"):
        dhr.load("hf://someone/other")
    with pytest.raises(InputError, match=r"weights: hf://other: not a place on the hub; write hf://owner/name"):
        compose("predict", ["weights=hf://other"])


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


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["format=onnx", "output=a.pt2"], "output: a.pt2: format=onnx writes *.onnx; use output=<name>.onnx"),
        (["format=tflite"], "format: tflite: does not fit here; allowed is one of safetensors, torch_export, onnx"),
        (["size=[64,64]"], "size: [64, 64]: weights hold for any size; leave it out"),
        (["images=[nowhere.jpg]"], "images: nowhere.jpg: no such file"),
    ],
)
def test_wrong_words(run: RunFolder, words: list[str], told: str) -> None:
    with pytest.raises(InputError, match=re.escape(told)):
        compose("export", [f"run={run.root}", *words])


def test_nothing_is_replaced_unasked(run: RunFolder, photographs: list[Path], tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_text("mine")
    with pytest.raises(InputError, match=r"a.safetensors: is there already; .*overwrite=true"):
        export(run, photographs, f"output={tmp_path / 'a.safetensors'}")
    assert (tmp_path / "a.safetensors").read_text() == "mine"
    export(run, photographs, f"output={tmp_path / 'a.safetensors'}", "overwrite=true")
    assert dhr.load(tmp_path / "a.safetensors").names


def test_what_differs_is_not_written(
    run: RunFolder, photographs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dhr.stage.export.TOLERANCE", -1.0)
    with pytest.raises(InputError, match=r"cannot be written so: another answer to an image of 60 x 85"):
        export(run, photographs, f"output={tmp_path / 'a.safetensors'}")
    assert not [*tmp_path.iterdir()]


def test_no_image_to_compare_on(run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"or give images to compare the export on: images="):
        main.run(compose("export", [f"run={run.root}", f"paths.data={tmp_path}", "output=never.safetensors"]))


def test_a_missing_package(run: RunFolder, photographs: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dhr.network.exported.find_spec", lambda name: None if name == "onnxscript" else object())
    with pytest.raises(InputError, match=r"onnx: needs onnxscript, .*; pip install onnxscript, or .*dhr\[export\]"):
        export(run, photographs, "format=onnx", "output=never.onnx")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda entries: entries["settings"]["backbone"].update(_target_="os.system"),
            "os.system: not a part of this group",
        ),
        (lambda entries: entries["settings"]["backbone"].update(widths=[8, 0, 8, 8]), "backbone.widths"),
        (lambda entries: entries["settings"].update(seed=3), "seed: 3: unknown key"),
        (lambda entries: entries["classes"]["names"].pop(), "9 names and 10 colours"),
        (lambda entries: entries["classes"]["palette"][0].append(3), "not one that dhr.export writes"),
        (lambda entries: entries["classes"]["palette"][0].__setitem__(0, 256), "not one that dhr.export writes"),
        (lambda entries: entries.pop("classes"), "not one that dhr.export writes"),
        (
            lambda entries: entries["settings"]["dataset"].update(name="${oc.env:HOME}"),
            "not one that dhr.export writes",
        ),
        (lambda entries: entries.update(settings=3), "has no settings"),
    ],
)
def test_an_edited_description(run: RunFolder, photographs: list[Path], tmp_path: Path, change: Any, told: str) -> None:
    file = tmp_path / "model.safetensors"
    export(run, photographs, f"output={file}")
    with safe_open(file, "pt") as opened:
        texts = dict(opened.metadata())
    entries = json.loads(texts["dhr"])
    change(entries)
    save_file(load_file(file), file, {**texts, "dhr": json.dumps(entries)})
    with pytest.raises(InputError, match=re.escape(told)):
        dhr.load(file)


def test_other_classes_are_refused(tiny: Tiny, run: RunFolder, photographs: list[Path], tmp_path: Path) -> None:
    text = run.record.read_text()
    swapped = text.replace('"ember_disc"', '"x"').replace('"ember_cross"', '"ember_disc"')
    run.record.write_text(swapped.replace('"x"', '"ember_cross"'))
    try:
        export(run, photographs, f"output={tmp_path / 'model.safetensors'}")
    finally:
        run.record.write_text(text)
    with pytest.raises(InputError, match=r"label 1 is ember_disc: in .*model.safetensors it is ember_cross"):
        tiny.call("predict", f"weights={tmp_path / 'model.safetensors'}")
