"""What the tests share: a tiny toy set with everything that training reads, made once."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra_memo
import pytest
import torch
from hypothesis import settings
from tiny import Tiny

from dhr.training.stopping import StepSeeds

# The same examples every time: a test that fails, fails for everybody. Timing is not what these tests are about.
settings.register_profile("steady", derandomize=True, deadline=None)
settings.load_profile("steady")
collect_ignore = ["plugin_package"]  # a package of its own, which one test installs
hydra_memo.remember()
torch.set_num_threads(1)  # the maps are tiny: more threads only get in each other's way


@pytest.fixture(scope="session")
def shared() -> Path:
    """Optional samples that lie beside the repository."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip(f"{folder}: no samples there")
    return folder


@pytest.fixture
def no_weights_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    """timm without a network."""

    def offline(*_: object, **__: object) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr("timm.models._builder.load_pretrained", offline)


def pytest_configure(config: pytest.Config) -> None:
    """Keeps pytest-xdist from its own order of files, in which those with the fewest tests come last."""
    config.option.loadscopereorder = False


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Slow tests come last: what is wrong shows early. Where several processes are handed files, those with slow tests
    come first: a long file that begins last would leave the other processes idle.
    """
    slow = {item for item in items if item.get_closest_marker("slow") is not None}
    items.sort(key=slow.__contains__)
    if hasattr(config, "workerinput"):
        long = {item.path for item in slow}
        items.sort(key=lambda item: item.path not in long)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Scenes, CAM masks and USS features; whoever changes something works on a copy."""
    made = Tiny(tmp_path_factory.mktemp("tiny"))
    for verb in ("prepare", "train_wss", "extract_uss"):
        made.call(verb)
    return made


@pytest.fixture
def at_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Lets a SIGTERM come in a step, counted over everything that is trained from now on; 0: in none."""
    begin, state = StepSeeds.on_train_batch_start, {"count": 0, "at": 0}

    def begun(self: StepSeeds, *arguments: Any) -> None:
        begin(self, *arguments)
        state["count"] += 1
        if state["count"] == state["at"]:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(StepSeeds, "on_train_batch_start", begun)
    return lambda number: state.update(count=0, at=number)
