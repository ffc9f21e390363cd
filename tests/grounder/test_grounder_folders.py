"""Folders of grounders: what is refused, with the key and the cure."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from grounders_of import ALL, CPU, TASK, picture, saved_all

from dhr.core.errors import InputError
from dhr.disk.weights.model_folder import ModelFolder
from dhr.grounder.grounding_dino import GroundingDino
from dhr.grounder.interface import Grounder
from dhr.grounder.paint import mask_of
from dhr.grounder.sam import Sam
from dhr.grounder.sam3 import Sam3


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return saved_all(tmp_path_factory.mktemp("models"))


def opened(kind: str, folders: dict[str, Path]) -> Any:
    grounders: dict[str, Callable[[], Grounder]] = {
        "grounding_dino": lambda: GroundingDino(str(folders["grounding_dino"]), Sam(str(folders["sam"]))),
        "sam": lambda: GroundingDino(str(folders["grounding_dino"]), Sam(str(folders["sam"])), threshold=0.0),
        "sam3": lambda: Sam3(str(folders["sam3"])),
    }
    return grounders[kind]().open(TASK)


@pytest.mark.parametrize(("kind", "key", "instead"), [
    ("grounding_dino", "grounder.weights", "IDEA-Research/grounding-dino-base"),
    ("sam", "grounder.segmenter.weights", "facebook/sam-vit-huge"),
    ("sam3", "grounder.weights", "facebook/sam3"),
])  # fmt: skip
def test_another_model_in_the_folder(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, key: str, instead: str
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    folder = Path(shutil.copytree(folders[kind], tmp_path / "model"))
    stated = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**stated, "model_type": "bert"}))
    with pytest.raises(InputError, match=rf"model_type: bert: no model that fits here; known: .*use {key}={instead}"):
        opened(kind, {**folders, kind: folder})
    with pytest.raises(InputError, match=rf"{key}: .*no such folder, and not to be fetched .*set {key}=<folder>"):
        opened(kind, {**folders, kind: tmp_path / "none"})


NEEDED = {
    "model.safetensors": r"no model\.safetensors",
    "preprocessor_config.json": r"preprocessor_config\.json: no such file",
    "tokenizer.json": r"no tokenizer \(tokenizer\.json\)",
}
READS_TEXT = ("grounding_dino", "sam3")


@pytest.mark.parametrize(("kind", "name"), [
    (kind, name) for kind in ("sam", *READS_TEXT) for name in NEEDED if kind in READS_TEXT or "token" not in name
])  # fmt: skip
def test_a_folder_that_is_not_whole(folders: dict[str, Path], tmp_path: Path, kind: str, name: str) -> None:
    folder = Path(shutil.copytree(folders[kind], tmp_path / "model"))
    (folder / name).unlink()
    with pytest.raises(InputError, match=NEEDED[name]):
        [*opened(kind, {**folders, kind: folder})("a", picture(), ALL, CPU).masks]


def test_masks_without_numbers_become_no_mask(folders: dict[str, Path]) -> None:
    finder = opened("sam", folders)
    with torch.no_grad():
        for parameter in finder.segmenter.layers.mask_decoder.parameters():
            parameter.fill_(float("nan"))
    with pytest.raises(InputError, match=r"^a: its masks are no numbers; are the weights of the model sound\?"):
        mask_of(finder, TASK, "a", picture(), ALL, CPU)


@pytest.mark.parametrize("kind", ["grounding_dino", "sam3"])
def test_no_number_becomes_no_mask(folders: dict[str, Path], kind: str) -> None:
    finder = opened(kind, folders)
    with torch.no_grad():
        for name, parameter in finder.layers.named_parameters():
            if "decoder" in name and "norm" in name:
                parameter.fill_(float("nan"))
    with pytest.raises(InputError, match=r"a: .* gives no numbers for it; are these weights sound\?"):
        [*finder("a", picture(), ALL, CPU).masks]


def test_a_gated_model_says_where_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.errors import GatedRepoError

    def refused(*_: Any, **__: Any) -> None:
        raise GatedRepoError(
            "403", response=httpx.Response(403, request=httpx.Request("GET", "https://huggingface.co"))
        )

    monkeypatch.setattr("huggingface_hub.snapshot_download", refused)
    with pytest.raises(
        InputError, match=r"grounder\.weights: facebook/sam3: .*huggingface\.co/facebook/sam3.*auth login"
    ):
        ModelFolder.find("facebook/sam3", None, "grounder.weights")
