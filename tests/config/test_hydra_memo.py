"""What the tests remember of Hydra's work is what Hydra makes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hydra_memo
import pytest
from hydra import compose
from hydra.errors import HydraException
from omegaconf import Container, OmegaConf

from dhr.config.compose import find_plugins
from dhr.config.tree import opened

LINES = [
    ("train", ""),
    ("train", "dataset=voc backbone=resnet50 ++tau=0.6 ++trainer.limit_train_batches=2"),
    ("train", "dataset=voc backbone=resnet50 ++tau=0.7"),
    ("train", "experiment=reproduce_voc hydra/launcher=process hydra.job.chdir=true ++backbone={_target_:x}"),
    ("train_uss", "uss=cause uss/tokens=colour ~uss.weights"),
    ("train_wss", "wss=mars wss@wss.source=mars"),
]


@pytest.fixture
def forgetful() -> Iterator[None]:
    yield
    hydra_memo.remember()


def made(verb: str, words: list[str]) -> Any:
    find_plugins()
    with opened(verb):
        return compose(verb, words, return_hydra_config=True)


def refused(*_: object, **__: object) -> None:
    raise AssertionError("Hydra was asked again")


def state(node: Any, place: str = "") -> Iterator[tuple[Any, ...]]:
    """Every node with its place, value, types and locks."""
    content = None if isinstance(node, Container) else node._value()
    kept = {key: value for key, value in vars(node._metadata).items() if key != "resolver_cache"}  # the time of day
    yield place, type(node), content, kept
    if isinstance(node, Container) and not node._is_none() and not node._is_missing():
        for key in node.keys() if OmegaConf.is_dict(node) else range(len(node)):
            yield from state(node._get_node(key), f"{place}.{key}")


@pytest.mark.parametrize(("verb", "line"), LINES)
def test_it_is_what_hydra_makes(forgetful: None, monkeypatch: pytest.MonkeyPatch, verb: str, line: str) -> None:
    made(verb, line.split()).hydra.job.name = "changed"  # in a copy
    with monkeypatch.context() as patch:
        for name in ("_choose", "_merge"):
            patch.setattr(hydra_memo, name, refused)
        remembered = made(verb, line.split())
    hydra_memo.remember(on=False)
    assert [*state(remembered)] == [*state(made(verb, line.split()))]


def test_an_option_that_does_not_exist_is_refused_each_time() -> None:
    for _ in range(2):
        with pytest.raises(HydraException, match="resnet51"):
            made("train", ["backbone=resnet51"])


def test_files_of_others_are_read_each_time(tmp_path: Path) -> None:
    (tmp_path / "backbone").mkdir()
    for width in (1, 2):
        (tmp_path / "backbone" / "mine.yaml").write_text(f"width: {width}\n")
        cfg = made("train", ["backbone=mine", f"hydra.searchpath=[file://{tmp_path}]"])
        assert cfg.backbone.width == width
