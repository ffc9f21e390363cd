"""Which classes a configuration may name, and how their arguments are known without importing them."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from dhr.config.check import check
from dhr.config.command import WRONG_CONFIG
from dhr.config.compose import compose
from dhr.config.parts import build, check_signatures
from dhr.config.schema import Train
from dhr.config.tree import options
from dhr.core.errors import InputError

HOSTILE: list[object] = [
    "torch.load",
    "torch.hub.load",
    "numpy.load",
    "pathlib.Path",
    "pathlib.Path.write_text",
    "functools.partial",
    "builtins.eval",
    "builtins.exec",
    "builtins.open",
    "os.system",
    "sys.exit",
    "subprocess.run",
    "subprocess.Popen",
    "shutil.rmtree",
    "pickle.loads",
    "importlib.import_module",
    "logging.config.dictConfig",
    "hydra.utils.instantiate",
    "hydra.utils.get_method",
    "timm.create_model",
    "pytorch_lightning.Trainer.fit",
    "pytorch_lightning.callbacks.LambdaCallback",
    "pytorch_lightning.Trainer",
    "dhr.backbone.resnet.torch.load",
    "dhr.backbone.resnet.Path",
    "dhr.backbone.resnet.load_imagenet_file",
    "dhr.backbone.resnet.ResNet.load_state_dict",
    "dhr.crf.pydensecrf.ProcessPoolExecutor",
    "dhr.crf.none.NoCrf",
    "dhr.disk.atomic.write_atomically",
    "dhr.config.parts.build",
    "..crf.none.NoCrf",
    "",
    None,
    ["torch.load"],
]
CALLABLES = [
    "hydra_plugins.dhr_launcher.subprocess.run",
    "hydra_plugins.dhr_launcher.ProcessLauncher",
    "hydra._internal.core_plugins.basic_launcher.BasicLauncher",
    "hydra._internal.core_plugins.basic_sweeper.BasicSweeper.launch",
]
PLACES = [  # where a node could be slipped in
    "decoder._target_=os.system",
    "optimizer._target_=os.system",
    "crf._target_=os.system",
    "trainer._target_=os.system",
    "uss.extractor._target_=os.system",
    "rebalancing.rebalancer._target_=os.system",
    "rebalancing.rebalancer.seed.policy._target_=os.system",
    "+wss.recipe={_target_: os.system, command: ls}",
    "+dataset._target_=os.system",
    "+paths._target_=os.system",
    "+_target_=os.system",
    "+logger._target_=os.system",
    "+dataset.generate._target_=os.system",
    "backbone.widths={_target_: os.system}",
    "backbone.widths=[{_target_: os.system}]",
    "dataset.jitter=[{_target_: os.system}]",
    "trainer.max_time={_target_: os.system}",
    "trainer.deterministic={_target_: os.system}",
    "trainer.deterministic=[{_target_: os.system}]",
    "+backbone._args_=[resnet18]",
    "+backbone._partial_=true",
    "+backbone._convert_=all",
    "+backbone._recursive_=false",
    "+hydra.callbacks.mine._target_=os.system",
    "hydra.launcher._target_=os.system",
    *(f"hydra.{plugin}={{_target_: {target}}}" for plugin in ("launcher", "sweeper") for target in CALLABLES),
    *(f"++hydra.{plugin}._target_={target}" for plugin in ("launcher", "sweeper") for target in CALLABLES),
    "hydra.launcher.extra=1",
    "hydra.sweeper.params={tau: 1}",
    "hydra/launcher@hydra.sweeper=process",
    "hydra.searchpath=[pkg://antigravity]",
    "+hydra.job.env_set.LD_PRELOAD=x.so",
    "hydra.job_logging.handlers.console.class=subprocess.Popen",
]


@pytest.fixture(scope="module")
def composed() -> Any:
    return OmegaConf.to_container(compose("train"))


@pytest.mark.parametrize("target", HOSTILE)
def test_hostile_targets_are_refused(composed: dict[str, Any], target: object) -> None:
    values = {**composed, "backbone": {**composed["backbone"], "_target_": target}}
    with pytest.raises(InputError, match=r"backbone\._target_.*allowed: dhr\.backbone\.resnet\.ResNet"):
        check(values, Train)


@pytest.mark.parametrize("word", PLACES)
def test_nodes_are_refused_wherever_they_stand(word: str) -> None:
    with pytest.raises(WRONG_CONFIG):
        compose("train", [word])


@pytest.mark.parametrize(
    "text",
    [
        "callbacks: {mine: {_target_: os.system, command: ls}}",
        "job_logging: {handlers: {console: {class: subprocess.Popen}}}",
        "job_logging: {handlers: {console: {(): os.system}}}",
        "hydra_logging: {formatters: {simple: {(): os.system}}}",
        "launcher: {extra: {_target_: os.system}}",
        "launcher: {_target_: hydra_plugins.dhr_launcher.subprocess.run}",
        "launcher: {_target_: hydra._internal.core_plugins.basic_sweeper.BasicSweeper}",
        "launcher: {_args_: [1]}",
        "launcher: {_partial_: true}",
        "sweeper: {_target_: hydra_plugins.dhr_launcher.subprocess.run}",
        "sweeper: {_target_: hydra_plugins.dhr_launcher.ProcessLauncher}",
        "sweeper: {params: {_target_: os.system}}",
        "job: {env_set: {LD_PRELOAD: x.so}}",
    ],
)
def test_a_file_cannot_make_hydra_call_anything(tmp_path: Path, text: str) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(f"# @package _global_\nhydra:\n  {text}\n")
    with pytest.raises(WRONG_CONFIG, match="hydra"):
        compose("train", ["experiment=mine"], folder=str(tmp_path))


@pytest.mark.parametrize("word", ["hydra/launcher=process", "hydra/launcher=basic", "hydra/sweeper=basic"])
def test_launchers_and_sweepers_are_chosen_by_name(word: str) -> None:
    assert compose("train", [word]).name


def test_reading_signatures_imports_nothing_heavy() -> None:
    code = "import sys; from dhr.config.compose import compose; compose('train'); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("option", options("rebalancing"))
def test_every_rebalancer_passes_check_2_and_is_built(option: str) -> None:
    cfg = compose("train", [f"rebalancing={option}", "crf=none"])
    check_signatures(cfg)
    crf = build(cfg.crf)
    if cfg.rebalancing.rebalancer is not None:
        assert build(cfg.rebalancing.rebalancer, first_tag=1, crf=crf).crf is crf


def test_check_2_names_the_key(composed: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="crf.sharpness: 3: unknown key"):
        check_signatures(OmegaConf.create({**composed, "crf": {**composed["crf"], "sharpness": 3}}))
    with pytest.raises(InputError, match="backbone.name: missing"):
        check_signatures(OmegaConf.create({**composed, "backbone": {"_target_": "dhr.backbone.resnet.ResNet"}}))


def test_building_hands_parts_over_as_they_are_and_passes_our_errors_on() -> None:
    cfg = compose("train", ["backbone.weights=nowhere.pth"])
    with pytest.raises(InputError, match="nowhere.pth"):
        build(cfg.backbone)
    with pytest.raises(InputError, match="trainer"):
        build(compose("train", ["trainer.devices=abc", "trainer.accelerator=cpu"]).trainer)
