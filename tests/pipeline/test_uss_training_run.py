"""train_uss from images to weights: what it leaves, that it learns from no label, and that it can be stopped."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from several import finish_two
from tiny import DATASET, Tiny, environment
from torch import Tensor

from dhr.core.errors import InputError
from dhr.disk.atomic import read_json
from dhr.disk.weights.state import read_checkpoint, read_weights
from dhr.uss.training import crops as views

METHODS = ("cause", "stego")
SMALL = {
    "cause": (
        "cause.crops.resolution=16", "cause.clusterbook.codes=6", "cause.clusterbook.steps=3", "cause.head.steps=5",
        "cause.head.projection=8", "cause.head.bank=4",
    ),
    "stego": ("stego.crops.resolution=16", "stego.head.steps=5", "stego.head.points=3", "stego.head.derangements=2"),
}  # fmt: skip


def words(there: Tiny, method: str, *extra: str) -> tuple[str, ...]:
    probe = (f"{method}.probe.steps=2", f"{method}.batch_size=4")
    paths = (f"paths.weights={there.root / 'weights'}", "trainer.accelerator=cpu", "trainer.log_every_n_steps=1")
    return (*DATASET, f"uss={method}", "uss/tokens=colour", *SMALL[method], *probe, *paths, *extra)


def train(there: Tiny, method: str, *extra: str) -> None:
    there.call("train_uss", *words(there, method, *extra))


def state(there: Tiny, method: str) -> Path:
    return there.root / "outputs" / "toy" / "uss" / method.upper()


def weights(there: Tiny, method: str) -> Path:
    return there.root / "weights" / f"{method.upper()}_Toy.pt"


def flat(content: Mapping[str, Any], before: str = "") -> dict[str, Tensor]:
    """All tensors of a file by their full names."""
    found: dict[str, Tensor] = {}
    for name, value in content.items():
        found |= flat(value, f"{before}{name}.") if isinstance(value, Mapping) else {f"{before}{name}": value}
    return found


def assert_equal(one: Path, other: Path, **tolerance: float) -> None:
    first, second = flat(read_checkpoint(one)), flat(read_checkpoint(other))
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, **(tolerance or {"atol": 0, "rtol": 0}), msg=name)


@pytest.fixture(scope="module", params=METHODS)
def done(request: pytest.FixtureRequest, tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> tuple[Tiny, str]:
    there = tiny.copy(tmp_path_factory.mktemp(request.param))
    train(there, request.param)
    return there, request.param


def test_what_a_training_leaves(done: tuple[Tiny, str]) -> None:
    there, method = done
    evaluation = read_json(state(there, method) / "evaluation.json")
    assert (evaluation["images"], evaluation["clusters"], evaluation["crf"]) == (4, 4, "none")
    for head in ("trained", "untrained"):
        assert 0 < evaluation[head]["miou"] <= 100 and 0 < evaluation[head]["accuracy"] <= 100
        assert [row["name"] for row in evaluation[head]["classes"]] == ["background", "ember", "moss", "azure"]
    assert read_json(state(there, method) / "run.json")["status"] == "finished"
    probes = read_weights(weights(there, method).with_name(f"{method.upper()}_Toy_probes.safetensors"))["probes"]
    assert probes.shape == (4, 90 if method == "cause" else 70)
    head = read_json(state(there, method) / "head" / "run.json")
    assert (head["steps"], head["crops"]) == (5, 16)
    before, after = (flat(read_checkpoint(path)) for path in (state(there, method) / "untrained.pt", weights(*done)))
    changed = [name for name, value in after.items() if not torch.equal(value, before[name])]
    same = {"patch_size", "token_answer"}  # of the tokens, which refuse a head of others
    assert {*after} - {*changed} == ({"codebook", *same} if method == "cause" else same)


def test_a_training_that_is_there_is_not_touched(done: tuple[Tiny, str], tmp_path: Path) -> None:
    there, method = done
    times = there.times()
    with pytest.raises(InputError, match="resume=true, make it anew with overwrite=true"):
        train(there, method)
    with pytest.raises(InputError, match="other settings"):
        train(there, method, "resume=true", "seed=2")
    with pytest.raises(InputError, match="not from .*other"):
        train(there, method, "name=other")
    train(there, method, "resume=true")
    assert there.times() == times


def test_features_can_be_extracted_with_it(done: tuple[Tiny, str]) -> None:
    there, method = done
    store, place = there.root / "features", f"paths.weights={there.root / 'weights'}"
    there.call("extract_uss", f"uss={method}", "uss/tokens=colour", place, f"uss.store={store}", "uss.scales=[1.0]")
    features = torch.load(store / "train_00003.pt", weights_only=True)
    assert features.shape == (90 if method == "cause" else 70, 12, 12)


def test_no_label_is_seen(done: tuple[Tiny, str], tmp_path: Path) -> None:
    """Masks and tags of all images are gone: the same weights, and nothing is scored."""
    there, method = done
    blind = there.copy(tmp_path)
    for split in ("train", "validation"):
        for kind in ("mask", "xml"):
            shutil.rmtree(blind.layout.split(split) / kind)
    train(blind, method)
    assert_equal(weights(blind, method), weights(there, method))
    assert not (state(blind, method) / "evaluation.json").exists()
    probes = f"{method.upper()}_Toy_probes.safetensors"
    assert (blind.root / "weights" / probes).read_bytes() == (there.root / "weights" / probes).read_bytes()


class StopError(Exception):
    """What a killed process is here."""


def test_an_interrupted_training_goes_on(
    done: tuple[Tiny, str], tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped within the head's training, between two checkpoints, and continued: as if it had been whole."""
    method = done[1]
    monkeypatch.setattr(views, "BLOCK", 2)
    there, item = tiny.copy(tmp_path), views.UnlabelledCropDataset.__getitem__
    seen: list[object] = []
    stop_at = {"cause": 4 * (3 + 3) + 1, "stego": 16 + 2 * 4 * 3 + 1}[method]  # crops: into the fourth step of the head

    def counting(self: views.UnlabelledCropDataset, key: tuple[int, int]) -> views.UnlabelledCrop:
        seen.append(key)
        if len(seen) == stop_at:
            raise StopError
        return item(self, key)

    monkeypatch.setattr(views.UnlabelledCropDataset, "__getitem__", counting)
    with pytest.raises(StopError):
        train(there, method)
    assert (state(there, method) / "head" / "checkpoints" / "last.ckpt").exists()
    assert not weights(there, method).exists()
    train(there, method, "resume=true")
    assert_equal(weights(there, method), weights(*done))
    scores = [read_json(state(*each) / "evaluation.json")["trained"] for each in ((there, method), done)]
    assert scores[0] == scores[1]


@pytest.mark.slow
def test_two_processes_train_one_head(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one process with all their crops: candidates, bank and sums are shared. Dropout is off: each draws its own."""
    shared = ("cause.head.lr=1e-3", "cause.head.weight_decay=0")
    nodrop = tmp_path / "sitecustomize.py"
    nodrop.write_text("import dhr.uss.cause as cause\ncause.DROPOUT = 0.0\n")
    monkeypatch.setattr("dhr.uss.cause.DROPOUT", 0.0)
    one, two = tiny.copy(tmp_path / "one"), tiny.copy(tmp_path / "two")
    train(one, "cause", *shared)
    command = two.command("train_uss", *words(two, "cause", *shared, "trainer=ddp", "trainer.devices=2"))
    monkeypatch.setattr("several.environment", lambda: _with(tmp_path))
    finish_two(command)
    assert_equal(weights(two, "cause"), weights(one, "cause"), atol=1e-4, rtol=1e-4)
    found = read_json(state(two, "cause") / "evaluation.json")
    assert found["images"] == 4 and found["trained"]["accuracy"] > 0


def _with(folder: Path) -> dict[str, str]:
    return {**environment(), "PYTHONPATH": f"{folder}:{environment()['PYTHONPATH']}"}
