"""Folders and names of image-text models: what is read, what is refused, and what is said of it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from image_text_of import saved_model

from dhr.core.errors import InputError
from dhr.disk.atomic import read_json
from dhr.disk.weights.model_folder import ModelFolder
from dhr.stage.installation import findings
from dhr.wss.image_text.load import load_model

KEY = "wss.recipe.name"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_model(tmp_path_factory.mktemp("models") / "clip", "clip")


def without(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def changed(name: str, **values: Any) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(json.dumps({**read_json(folder / name), **values}))


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def torn(folder: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])


def of_another_model(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    other = saved_model(folder.parent / "other", "siglip")
    shutil.copy(other / "model.safetensors", folder)


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (shutil.rmtree, r"wss\.recipe\.name: .*no such folder, and not to be fetched .*name=<folder>"),
    "no configuration": (without("config.json"), r"config\.json: no such file"),
    "another kind of model": (changed("config.json", model_type="bert"), r"model_type: bert: .*known: clip, siglip"),
    "no kind of model": (changed("config.json", model_type=None), r"config\.json: model_type: None"),
    "a strange configuration": (changed("config.json", projection_dim="wide"), r"transformers cannot read it"),
    "no tokenizer": (without("tokenizer.json"), r"no tokenizer \(tokenizer\.json\)"),
    "pickled weights": (pickled, r"no model\.safetensors \(pytorch_model\.bin instead; pickled weights are not read\)"),
    "no weights": (without("model.safetensors"), r"no model\.safetensors \(nothing instead"),
    "half of the weights": (torn, r"transformers cannot read it .*; fetch or save the folder again"),
    "weights of another model": (of_another_model, r"weights are missing, of other shapes|cannot read it"),
    "no colours": (without("preprocessor_config.json"), r"preprocessor_config\.json: no such file"),
    "strange colours": (changed("preprocessor_config.json", image_mean=0.5), r"image_mean, image_std: three numbers"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_with_a_folder_is_said(
    tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    damage, said = WRONG[case]
    folder = tmp_path / "model"
    shutil.copytree(clip, folder)
    damage(folder)
    with pytest.raises(InputError, match=said):
        load_model(ModelFolder.find(str(folder), None, KEY), through="value", precision="fp32")


def test_a_model_of_the_hub_is_read_from_the_cache(tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the hub's library lays it out; without a network nothing else is there."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    stored = tmp_path / "models--us--small-clip"
    shutil.copytree(clip, stored / "snapshots" / ("a" * 40))
    (stored / "refs").mkdir()
    (stored / "refs" / "main").write_text("a" * 40)
    found = ModelFolder.find("us/small-clip", None, KEY)
    assert found.digest() == ModelFolder(clip).digest()
    with pytest.raises(InputError, match=r"wss\.recipe\.name: us/small-clip: no such folder, and not to be fetched"):
        ModelFolder.find("us/small-clip", "other", KEY)


def test_a_revision_is_of_the_hub(clip: Path) -> None:
    with pytest.raises(InputError, match=r"wss\.recipe\.revision: main: .* is a folder"):
        ModelFolder.find(str(clip), "main", KEY)


def test_the_doctor_says_which_models_are_here(tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    shutil.copytree(clip, tmp_path / "models--openai--clip-vit-base-patch16" / "snapshots" / ("a" * 40))
    rows = {row.name: row for row in findings(tmp_path, tmp_path, {})}
    assert rows["openai/clip-vit-base-patch16 (wss=text)"].state == "ok"
    missing = rows["google/siglip2-base-patch16-224 (wss=text)"]
    assert missing.state == "optional" and "wss.recipe.name=google/siglip2-base-patch16-224" in missing.cure
