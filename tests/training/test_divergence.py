"""Scores that are no numbers, and classes that no mask can hold: the image is named, and nothing is made of it."""

import json
from pathlib import Path

import pytest
import torch
from tiny import Tiny

from dhr.core.errors import InputError
from dhr.crf.interface import Crf, InvalidProbabilitiesError, naming_images
from dhr.crf.native import NativeCrf
from dhr.crf.none import NoCrf
from dhr.crf.pydensecrf import PyDenseCrf
from dhr.crf.torch import TorchCrf
from dhr.dataset import classes
from dhr.disk.atomic import read_json

CRFS = (NoCrf(), PyDenseCrf(workers=0), NativeCrf(workers=0), TorchCrf())


@pytest.mark.parametrize("crf", CRFS, ids=lambda crf: type(crf).__name__)
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -0.1])
def test_a_crf_says_which_images_are_nonsense(crf: Crf, value: float) -> None:
    probabilities = torch.full((4, 2, 6, 7), 0.5)
    probabilities[1, 0, 2, 3] = probabilities[3, 1, 0, 0] = value
    field = crf.on(torch.zeros(4, 3, 6, 7, dtype=torch.uint8), torch.ones(4, 6, 7, dtype=torch.bool))
    with pytest.raises(InvalidProbabilitiesError) as caught:
        field(probabilities, torch.ones(4, 2, dtype=torch.bool))
    assert caught.value.images[0] == 1  # where images are worked on one by one, the first is told


def test_the_image_and_the_cure_are_named() -> None:
    with pytest.raises(InputError, match="image b, c: .*NaN.*; eat less"), naming_images(("a", "b", "c"), "eat less"):
        raise InvalidProbabilitiesError((1, 2))


@pytest.mark.parametrize("rebalancing", ["none", "dhr"])
def test_a_training_that_diverges_stops_and_says_at_which_images(tiny: Tiny, tmp_path: Path, rebalancing: str) -> None:
    words = (f"rebalancing={rebalancing}", "wss=cam", "optimizer.head_lr=10", "optimizer.backbone_lr=10")
    words += ("optimizer.weight_decay=10", "dataset.max_epochs=8")  # every step makes weights a hundred times as large
    with pytest.raises(InputError, match=r"image.? train_\d+.*optimizer.backbone_lr"):
        tiny.call("train", *words, f"paths.outputs={tmp_path}", "name=burst", "optimizer.warmup=0.0")
    failed = read_json(tmp_path / "toy" / "runs" / "burst" / "failed-0.json")
    assert len(failed["ids"]) == 4 and all(image_id.startswith("train_") for image_id in failed["ids"])


def test_a_table_of_too_many_classes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"class {number}" for number in range(256)]
    table = {"names": names, "has_background": True, "sizes": {}}
    (tmp_path / "many.json").write_text(json.dumps(table))
    (tmp_path / "most.json").write_text(json.dumps({**table, "names": names[:255]}))
    monkeypatch.setattr(classes, "TABLES", tmp_path)
    assert classes.load_classes("most").num_classes == 255
    with pytest.raises(InputError, match="256 classes"):
        classes.load_classes("many")
