"""The sweep and the layout of panels that stand in scripts/ for wandb."""

import importlib.util
import runpy
import sys
from pathlib import Path
from types import ModuleType

import pytest
import wandb
import yaml
from tiny import ROOT
from wandb.sdk.launch.sweeps import utils
from wandb_file import Written

from dhr.config.compose import compose
from dhr.disk.layout import RunFolder
from dhr.training.metrics import CURVES, SCORES, SHOWN
from dhr.training.wandb_board import Board

SWEEP = ROOT / "scripts" / "wandb_tau_sweep.yaml"
LAYOUT = ROOT / "scripts" / "wandb_workspace.py"


def commands(sweep: dict[str, list[str]], **values: object) -> list[str]:
    """What an agent calls for one choice of the parameters, formed by the functions that it uses itself."""
    given = {key: {"value": value} for key, value in values.items()}
    macros = {**utils.create_sweep_command_args({"args": given}), "program": [sweep["program"]]}
    words = utils.create_sweep_command([*sweep["command"]])
    return [each for word in words for each in (macros[word[2:-1]] if word.startswith("${") else [word])]


def test_an_agent_calls_what_our_command_understands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_SWEEP_ID", "s7eep")
    sweep = yaml.safe_load(SWEEP.read_text())
    assert sweep["metric"] == {"name": SCORES[0], "goal": "maximize"} and sweep["method"] == "grid"
    names = set()
    taus, seeds = (sweep["parameters"][key]["values"] for key in ("tau", "seed"))
    for tau, seed in [*((tau, seeds[0]) for tau in taus), (taus[0], seeds[1])]:
        python, module, program, *words = commands(sweep, tau=tau, seed=seed)
        assert [python, module, program] == ["python", "-m", "dhr.train"]
        cfg = compose("train", words)
        assert (cfg.tau, cfg.seed, cfg.logger.name, cfg.resume) == (tau, seed, "wandb", "auto")
        assert cfg.rebalancing.rebalancer.intra_class.groups.tau == tau
        assert cfg.paths.outputs == "outputs/sweeps/s7eep"
        names.add(cfg.name)
    assert len(names) == len(taus) + 1  # every job has a folder of its own


def test_a_job_of_a_sweep_is_the_run_that_its_agent_means(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An agent names sweep and run by variables."""
    (tmp_path / "values.yaml").write_text("wandb_version: 1\ntau: {value: 0.7}\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_SWEEP_ID", "s7eep")
    monkeypatch.setenv("WANDB_RUN_ID", "r5n")
    monkeypatch.setenv("WANDB_SWEEP_PARAM_PATH", str(tmp_path / "values.yaml"))
    wandb.teardown()
    config = {"tau": 0.7, "seed": 1}
    board = Board(RunFolder(tmp_path / "run"), config, project="p", entity=None, mode="offline", group="toy", tags=None)
    assert board.start()
    board.finalize("success")
    wandb.teardown()
    (folder,) = (tmp_path / "run" / "wandb").glob("offline-run-*")
    written = Written.read(folder)
    assert (written.run.sweep_id, written.run.run_id, board.version) == ("s7eep", "r5n", "r5n")
    assert (written.config["tau"], written.config["seed"]) == (0.7, 1)


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("wandb_workspace", LAYOUT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_layout_has_a_place_for_all_that_is_logged(script: ModuleType) -> None:
    shown = [*script.TABLES.values(), *(key for keys in script.PICTURES.values() for key in keys)]
    assert sorted(shown) == sorted(SHOWN)
    assert sorted(key for keys in script.CURVES.values() for key in keys) == sorted(CURVES)
    assert {*script.TITLES} <= {*CURVES}


def test_panels_name_what_a_run_logs(script: ModuleType) -> None:
    pytest.importorskip("wandb_workspaces", reason="pip install wandb-workspaces")
    made = script.layout("project", "me")
    assert [section.name for section in made.sections] == ["scores", "labels", "losses", "classes", "pictures"]
    named = []
    for panel in (panel for section in made.sections for panel in section.panels):
        keys = getattr(panel, "y", None) or getattr(panel, "media_keys", None) or [panel.table_name]
        named += [getattr(key, "name", key) for key in keys]
    assert sorted(named) == sorted([*CURVES, *SHOWN])
    view = made._to_model().model_dump_json(by_alias=True)  # what would be sent
    assert all(f'"{name}"' in view for name in named)


def test_a_missing_library_is_said_with_its_cure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("wandb_workspaces", "wandb_workspaces.workspaces"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(sys, "argv", [str(LAYOUT), "dhr"])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(LAYOUT), run_name="__main__")
    assert end.value.code == 2 and "pip install wandb-workspaces" in capsys.readouterr().err
