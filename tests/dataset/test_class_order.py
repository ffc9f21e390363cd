"""The order of the classes that a data set states beside its masks holds for every stage."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny import EPOCHS, Tiny

from dhr.core.errors import InputError
from dhr.dataset.classes import classes_of, load_classes
from dhr.dataset.prepare.preparer import Preparer, Sources
from dhr.disk.atomic import read_json
from dhr.disk.layout import DataLayout

CONTEXT = load_classes("context")


def state(folder: Path, names: list[str], **more: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{folder.name}.json"
    path.write_text(json.dumps({"names": names, "ignore": 255, **more}))
    return path


def test_ours_where_nothing_is_stated(tmp_path: Path) -> None:
    assert classes_of(tmp_path / "PascalContext", "context") == CONTEXT


@pytest.mark.parametrize("order", CONTEXT.orders)
def test_the_stated_order_with_either_spelling(tmp_path: Path, order: str) -> None:
    names = list(CONTEXT.orders[order])
    spelt = ["diningtable" if name == "table" else name for name in names]
    for stated in (names, spelt):
        state(tmp_path / "PascalContext", stated)
        table = classes_of(tmp_path / "PascalContext", "context")
        assert list(table.names) == names and table.palette == CONTEXT.palette


def test_super_categories_follow_their_classes() -> None:
    toy = load_classes("toy")
    assert toy.groups is not None
    turned = toy.reordered([toy.names[0], *reversed(toy.names[1:])], Path("x.json"))
    assert turned.groups is not None
    assert dict(zip(turned.names, turned.groups, strict=True)) == dict(zip(toy.names, toy.groups, strict=True))


@pytest.mark.parametrize(
    "change, match",
    [
        (lambda names: [*names[:-1], "wodka"], "wodka: the 59 classes of context are due"),
        (lambda names: names[:-1], "wood: the 59 classes of context are due"),
        (lambda names: [*names, names[0]], "one of them twice"),
    ],
)
def test_other_classes_are_refused(tmp_path: Path, change: Callable[[list[str]], list[str]], match: str) -> None:
    state(tmp_path / "PascalContext", change(list(CONTEXT.names)))
    with pytest.raises(InputError, match=match):
        classes_of(tmp_path / "PascalContext", "context")


def test_background_comes_first(tmp_path: Path) -> None:
    voc = load_classes("voc")
    state(tmp_path / "VOC2012", [*voc.names[1:], "background"])
    with pytest.raises(InputError, match="the first class has to be background"):
        classes_of(tmp_path / "VOC2012", "voc")


@pytest.mark.parametrize("text", ["[]", '{"names": 3}', '{"names": ["a"], "ignore": 0}', "{"])
def test_a_file_of_another_form(tmp_path: Path, text: str) -> None:
    state(tmp_path / "VOC2012", []).write_text(text)
    with pytest.raises(InputError, match=r"VOC2012\.json"):
        classes_of(tmp_path / "VOC2012", "voc")


def test_prepare_keeps_a_stated_order_and_refuses_a_second_one(tiny: Tiny, tmp_path: Path) -> None:
    toy = load_classes("toy")
    turned = [toy.names[0], *reversed(toy.names[1:])]
    source, data = tmp_path / "given" / "Toy", DataLayout(tmp_path / "data", "Toy")
    shutil.copytree(tiny.layout.home, source, ignore=shutil.ignore_patterns("*.jsonl"))
    state(source, turned)
    preparer = Preparer("toy", data, toy, download=None)
    assert list(preparer(Sources(source=source.parent)).splits["train"].names) == turned
    assert read_json(data.home / "Toy.json")["names"] == turned
    state(source, list(toy.names))
    with pytest.raises(InputError, match="states another class order than the download"):
        preparer(Sources(source=source.parent))


@pytest.mark.slow
def test_a_run_is_not_scored_on_masks_of_another_order(tiny: Tiny, tmp_path: Path) -> None:
    there = tiny.copy(tmp_path)
    there.call("train", "name=ordered", "rebalancing=none", f"trainer.max_epochs={EPOCHS}", "trainer.max_steps=1")
    toy = load_classes("toy")
    assert read_json(there.run("ordered").record)["classes"] == list(toy.names)
    state(there.layout.home, [toy.names[0], *reversed(toy.names[1:])])
    for verb in ("predict", "evaluate"):
        with pytest.raises(InputError, match=f"label 1 is {toy.names[-1]}: in .*ordered it is {toy.names[1]}"):
            there.call(verb, f"run={there.run('ordered').root}")
