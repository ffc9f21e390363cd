"""Masks from tags through an open-vocabulary model: the method as a whole."""

from pathlib import Path

import numpy as np
import pytest
from grounders_of import saved_grounding_dino, saved_sam, saved_sam3
from tiny import SIDE, Tiny

from dhr.config.command import WRONG_CONFIG
from dhr.config.compose import compose
from dhr.config.overrides import explain
from dhr.config.parts import check_signatures
from dhr.config.provenance import provenance
from dhr.core.errors import InputError
from dhr.dataset.classes import load_classes
from dhr.dataset.toy.toy_set import write_toy
from dhr.disk.annotation import read_tags
from dhr.disk.atomic import read_json
from dhr.disk.mask import read_mask

IMAGES = 6


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, ...]]:
    """What is typed for each grounder."""
    root, node = tmp_path_factory.mktemp("models"), "wss.recipe.grounder"
    dino, sam, sam3 = saved_grounding_dino(root / "dino"), saved_sam(root / "sam"), saved_sam3(root / "sam3")
    return {
        "grounding_dino": (f"{node}.weights={dino}", f"{node}.segmenter.weights={sam}"),
        "sam3": (f"{node}=sam3", f"{node}.weights={sam3}", f"{node}.threshold=0.24"),
    }


@pytest.fixture
def there(tmp_path: Path) -> Tiny:
    write_toy(tmp_path / "data", splits={"train": IMAGES, "validation": 1}, image_size=SIDE)
    return Tiny(tmp_path)


def made(there: Tiny) -> dict[str, bytes]:
    folder = there.root / "data" / "WSS" / "Toy" / "Grounded" / "train"
    return {path.name: path.read_bytes() for path in folder.glob("*.png")}


@pytest.mark.parametrize("grounder", ["grounding_dino", "sam3"])
def test_the_whole_method(there: Tiny, models: dict[str, tuple[str, ...]], grounder: str) -> None:
    typed = ("train_wss", "wss=grounded", *models[grounder])
    there.call(*typed)
    folder, names = there.root / "data" / "WSS" / "Toy" / "Grounded" / "train", load_classes("toy").names
    whole = made(there)
    assert len(whole) == IMAGES
    for path in folder.glob("*.png"):
        tags = read_tags(there.layout.tags("train", path.stem), names[1:])
        assert {names[label] for label in np.unique(read_mask(path))} <= {"background", *tags}
    settings = read_json(folder.with_suffix(".json"))
    assert "model" in settings and "seed" not in settings and "crf" not in settings
    times = there.times()
    there.call(*typed, "seed=2", "crf.iterations=1")  # neither decides anything here
    assert there.times() == times
    (folder / "train_00002.png").unlink()
    there.call(*typed)
    assert made(there) == whole


def test_masks_of_another_grounder_are_not_mixed_in(there: Tiny, models: dict[str, tuple[str, ...]]) -> None:
    there.call("train_wss", "wss=grounded", *models["sam3"])
    with pytest.raises(InputError, match=r"made with other settings \(method, model, threshold, segmenter in"):
        there.call("train_wss", "wss=grounded", *models["grounding_dino"])


def test_the_cure_names_the_key_of_the_recipe(
    there: Tiny, models: dict[str, tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    node = "wss.recipe.grounder"
    for key in (f"{node}.weights", f"{node}.segmenter.weights"):
        with pytest.raises(InputError, match=rf"^{key}: none/such: no such folder.*set {key}=<folder>"):
            there.call("train_wss", "wss=grounded", *models["grounding_dino"], f"{key}=none/such")
    with pytest.raises(InputError, match=rf"^{node}\.boxes: null: Ferret runs elsewhere"):
        there.call("train_wss", "wss=grounded", f"{node}=ferret")


def test_letters_and_licences_are_those_of_the_grounder() -> None:
    cfg = compose("train", ["dataset=toy", "wss=grounded", "rebalancing=none"])
    check_signatures(cfg)
    assert provenance(cfg) == {"saw": {"backbone": "nothing", "wss": "ISTM"}, "licences": {"wss": "apache-2.0"}}
    words = ["wss.recipe.grounder=sam3", "rebalancing=none"]
    told = provenance(compose("train", ["dataset=toy", "wss=grounded", *words]))
    assert told == {"saw": {"backbone": "nothing", "wss": "TM"}, "licences": {}}


def test_a_method_without_grounder_has_none_to_choose() -> None:
    with pytest.raises(WRONG_CONFIG) as refused:
        compose("train_wss", ["wss=cam", "wss.recipe.grounder=sam3"])
    assert explain(refused.value) == (
        "wss.recipe.grounder: this method asks no grounder; leave it out, or choose wss=<another>"
    )
