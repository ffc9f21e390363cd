"""`dhr.export`: files that answer as the network does, say what they are, and can be used again."""

import json
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exporting import export, scored_run, two_pictures
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny import Tiny

import dhr
from dhr.config.compose import compose
from dhr.config.exported import stated
from dhr.core.errors import InputError
from dhr.disk.layout import RunFolder
from dhr.export import main


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return two_pictures(tmp_path_factory.mktemp("photographs"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return scored_run(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def weights(run: RunFolder, photographs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run as a file of weights, there to be read."""
    file = tmp_path_factory.mktemp("weights") / "model.safetensors"
    export(run, photographs, f"output={file}")
    return file


def test_the_end_says_what_was_compared(
    run: RunFolder, photographs: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "dhr.export"):
        export(run, photographs, f"output={tmp_path / 'model.safetensors'}")
    assert re.search(
        r"model\.\w+: [01]\.\d MB; on 2 images at two sizes it differs from the network by at most", caplog.text
    )


def test_the_file_of_weights_is_the_run(run: RunFolder, weights: Path, photographs: list[Path]) -> None:
    first, second = dhr.load(run.root), dhr.load(weights)
    assert first.table.names == second.table.names and first.table.palette == second.table.palette
    for path in photographs:
        found, due = second.predict(path), first.predict(path)
        np.testing.assert_array_equal(found.probabilities, due.probabilities)
        np.testing.assert_array_equal(found.mask, due.mask)


def test_commands_take_the_network_from_the_file(tiny: Tiny, weights: Path, tmp_path: Path) -> None:
    file, other = weights, tmp_path / "again.safetensors"
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


def test_a_file_says_what_it_is(run: RunFolder, weights: Path) -> None:
    with safe_open(weights, "pt") as file:
        entries = json.loads(file.metadata()["dhr"])
    assert entries["classes"]["names"] == list(dhr.load(run.root).names)
    assert entries["input"]["mean"] == [0.485, 0.456, 0.406] and entries["input"]["shape"] == "(B,3,H,W) float32"
    assert {*entries["outputs"]} == {"logits", "probabilities"} and (entries["stride"], entries["cells"]) == (
        4,
        "centred",
    )
    assert entries["provenance"]["scores"] == [{"split": "validation", "images": 4, "miou": 12.3456}]
    assert entries["provenance"]["saw"]["backbone"] == "nothing"
    assert str(weights.parent) not in json.dumps(entries["settings"])
    assert str(run.root) not in json.dumps(entries["settings"])


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
def test_an_edited_description(weights: Path, tmp_path: Path, change: Any, told: str) -> None:
    file = tmp_path / "model.safetensors"
    with safe_open(weights, "pt") as opened:
        texts = dict(opened.metadata())
    entries = json.loads(texts["dhr"])
    change(entries)
    save_file(load_file(weights), file, {**texts, "dhr": json.dumps(entries)})
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
