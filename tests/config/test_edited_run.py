"""A run folder that somebody edited, or that came from elsewhere: every command names what is wrong with it."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from tiny import Tiny

from dhr.config.command import WRONG_CONFIG
from dhr.core.errors import InputError
from dhr.disk.atomic import read_json, write_json
from dhr.disk.layout import RunFolder
from dhr.disk.weights.state import read_checkpoint

Damage = Callable[[RunFolder], object]
LEARNING = ("wss=cam", "rebalancing=none", "dataset.max_epochs=1", "name=theirs")
DEEP = "[" * 90_000


@pytest.fixture(scope="module")
def trained(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """A finished run with its predictions and scores."""
    there = tiny.copy(tmp_path_factory.mktemp("edited"))
    there.call("train", *LEARNING)
    there.call("predict", f"run={there.run('theirs').root}", "crf=none")
    there.call("evaluate", f"run={there.run('theirs').root}")
    return there


@pytest.fixture
def there(trained: Tiny, tmp_path: Path) -> Tiny:
    """A copy of it, to be edited."""
    copy = trained.copy(tmp_path)
    shutil.copytree(trained.root / "outputs", tmp_path / "outputs")
    config = copy.run("theirs").config
    config.write_text(config.read_text().replace(str(trained.root), str(tmp_path)))
    return copy


def written(path: str, text: str) -> Damage:
    return lambda run: (run.root / path).write_text(text)


def record(**entries: object) -> Damage:
    return lambda run: write_json(run.record, {**read_json(run.record), **entries})


def settings(**entries: object) -> Damage:
    def edit(run: RunFolder) -> None:
        cfg = OmegaConf.load(run.config)
        for key, value in entries.items():
            OmegaConf.update(cfg, key.replace("__", "."), value, force_add=True)
        run.config.write_text(OmegaConf.to_yaml(cfg))

    return edit


def folder(path: str) -> Damage:
    def replace(run: RunFolder) -> None:
        (run.root / path).unlink()
        (run.root / path).mkdir()

    return replace


def weights(change: Callable[[torch.Tensor], object]) -> Damage:
    """One weight of the checkpoint is another one."""

    def edit(run: RunFolder) -> None:
        content = dict(read_checkpoint(run.last))
        name = "network.backbone.layers.conv1.weight"
        assert name in content["state_dict"]
        content["state_dict"] = {**content["state_dict"], name: change(content["state_dict"][name])}
        torch.save(content, run.last)

    return edit


def checkpoint(content: object) -> Damage:
    return lambda run: torch.save(content, run.last)


def without(key: str) -> Damage:
    return lambda run: torch.save({k: v for k, v in read_checkpoint(run.last).items() if k != key}, run.last)


def fifo(run: RunFolder) -> None:
    run.last.unlink()
    os.mkfifo(run.last)


def nested() -> list[Any]:
    inner: list[Any] = []
    for _ in range(150):
        inner = [inner]
    return inner


READERS = ("predict", "evaluate", "report", "resume")
RECORDS: list[tuple[str, Damage, tuple[str, ...]]] = [  # what is edited, how, which commands have to say so
    ("a list", written("run.json", "[]"), READERS),
    ("a text", written("run.json", '"finished"'), READERS),
    ("no JSON", written("run.json", "{"), READERS),
    ("no text", lambda run: run.record.write_bytes(b"\xff\xfe"), READERS),
    ("a number without end", written("run.json", f'{{"status": {"9" * 5000}}}'), READERS),
    ("without end", written("run.json", DEEP), READERS),
    ("a folder", folder("run.json"), READERS),
    ("nothing", written("run.json", "{}"), ("predict",)),
    ("a status that is none", record(status=["finished"]), ("predict", "evaluate", "report")),
    ("other classes", record(classes=["a", "b"]), ("predict", "evaluate")),
    ("fewer classes", lambda run: record(classes=read_json(run.record)["classes"][:-1])(run), ("predict", "evaluate")),
    (
        "more classes",
        lambda run: record(classes=[*read_json(run.record)["classes"], "a"])(run),
        ("predict", "evaluate"),
    ),
    ("classes that are a number", record(classes=3), ("predict", "evaluate", "report")),
    ("classes that are numbers", record(classes=[1, 2]), ("predict", "evaluate", "report")),
    ("seconds that are none", record(status="running", seconds="long"), ("report", "resume")),
    ("endless seconds", record(status="running", seconds=float("inf")), ("report", "resume")),
]
CONFIGS: list[tuple[str, Damage, tuple[str, ...]]] = [
    ("a list", written("config.yaml", "[1]"), READERS),
    ("without end", written("config.yaml", DEEP), ("predict", "evaluate", "report")),
    ("a large number", written("config.yaml", f"seed: {'9' * 5000}"), ("predict", "evaluate", "report")),
    ("keys that are lists", written("config.yaml", "? [a]\n: 1"), ("predict", "evaluate", "report")),
    ("a folder", folder("config.yaml"), READERS),
    ("wide", settings(backbone__widths=[10**6] * 4), ("predict", "evaluate", "report")),
    ("wide decoder", settings(decoder__channels=10**6), ("predict", "evaluate", "report")),
    ("no widths", settings(backbone__widths=[]), ("predict", "evaluate", "report")),
    ("a name that is a number", settings(name=3), ("predict", "evaluate", "report")),
    ("a split of nothing", settings(dataset__splits__train=""), ("predict", "evaluate", "report")),
    ("a zero byte", settings(paths__data="a\0b"), ("predict", "evaluate", "report")),
]
CHECKPOINTS: list[tuple[str, Damage, tuple[str, ...]]] = [
    ("a folder", folder("checkpoints/last.ckpt"), ("predict", "resume")),
    ("a pipe", fifo, ("predict", "resume")),
    ("no file", lambda run: run.last.unlink(), ("predict",)),
    ("empty", written("checkpoints/last.ckpt", ""), ("predict", "resume")),
    ("a text", written("checkpoints/last.ckpt", "weights"), ("predict", "resume")),
    ("a web page", written("checkpoints/last.ckpt", "<html>"), ("predict", "resume")),
    ("a list", checkpoint([1]), ("predict", "resume")),
    ("a tensor", checkpoint(torch.zeros(2)), ("predict", "resume")),
    ("nothing in it", checkpoint({}), ("predict", "resume")),
    ("boxes in boxes", checkpoint({"state_dict": nested()}), ("predict", "resume")),
    ("numbers for names", checkpoint({"state_dict": {1: torch.zeros(2)}}), ("predict", "resume")),
    ("texts for weights", checkpoint({"state_dict": {"network.a": "b"}}), ("predict", "resume")),
    ("sparse", weights(torch.Tensor.to_sparse), ("predict", "resume")),
    ("in compressed rows", weights(lambda value: value.flatten(1).to_sparse_csr()), ("predict", "resume")),
    ("meta", weights(lambda value: value.to("meta")), ("predict", "resume")),
    ("quantised", weights(lambda value: torch.quantize_per_tensor(value, 0.1, 0, torch.qint8)), ("predict", "resume")),
    ("complex", weights(lambda value: value.to(torch.complex64)), ("predict", "resume")),
    ("another shape", weights(lambda value: value[:1]), ("predict", "resume")),
    ("endless by a trick", weights(lambda value: torch.zeros(1).expand(10**12)), ("predict", "resume")),
    ("whole numbers", weights(lambda value: value.to(torch.int64)), ("predict",)),
    ("truth values", weights(lambda value: value > 0), ("predict",)),
    ("NaN", weights(lambda value: value * float("nan")), ("predict",)),
    ("infinite", weights(lambda value: value / 0), ("predict",)),
    ("NaN in few bits", weights(lambda value: (value * float("nan")).to(torch.float8_e4m3fn)), ("predict",)),
    *((f"without {key}", without(key), ("resume",)) for key in ("state_dict", "loops", "optimizer_states", "epoch")),
]
CASES = [
    pytest.param(damage, reader, id=f"{what}: {name}: {reader}")
    for what, cases in (("run.json", RECORDS), ("config.yaml", CONFIGS), ("last.ckpt", CHECKPOINTS))
    for name, damage, readers in cases
    for reader in readers
]


def use(there: Tiny, reader: str) -> None:
    """The command, which would make something anew."""
    run = there.run("theirs")
    if reader != "resume":
        there.call(reader, f"run={run.root}", *(["crf=none", "overwrite=true"] if reader == "predict" else []))
        return
    if run.record.is_file() and '"finished"' in run.record.read_text(errors="replace")[-300:]:
        record(status="running")(run) if run.record.read_text()[0] == "{" else None
    there.call("train", *LEARNING, "resume=true")


@pytest.mark.parametrize(("damage", "reader"), CASES)
def test_an_edited_run_is_named(there: Tiny, damage: Damage, reader: str) -> None:
    run = there.run("theirs")
    damage(run)
    with pytest.raises(WRONG_CONFIG) as caught:
        use(there, reader)
    assert any(place in str(caught.value) for place in (str(run.root), "config.yaml", str(there.root))), caught.value


@pytest.mark.parametrize("reader", READERS)
def test_a_run_that_nobody_edited_is_used(there: Tiny, reader: str) -> None:
    use(there, reader)


FACTS = ("command", "dataset", "wss", "uss", "rebalancing", "backbone", "decoder", "start", "seed", "tau", "max_epochs")


@pytest.mark.parametrize("value", [None, [], {"a": [1]}, "x", -1e308])
def test_a_report_is_made_of_whatever_stands_in_a_record(there: Tiny, value: object) -> None:
    record(**dict.fromkeys((*FACTS, "steps", "device", "versions"), value))(there.run("theirs"))
    there.call("report", f"run={there.run('theirs').root}")


def test_weights_that_are_no_numbers_are_named(there: Tiny) -> None:
    run = there.run("theirs")
    weights(lambda value: value * float("nan"))(run)
    with pytest.raises(
        InputError, match=r"last\.ckpt: 1 weights are NaN or infinite: backbone\.layers\.conv1\.weight; train anew"
    ):
        use(there, "predict")
    assert json.loads(run.record.read_text())["status"] == "finished"
