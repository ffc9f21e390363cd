"""What a run folder says about how it was made."""

from importlib.metadata import version

from omegaconf import DictConfig

from dhr.config.command import command_line
from dhr.dataset.classes import ClassTable

PACKAGES = ("torch", "torchvision", "pytorch-lightning", "timm", "torchmetrics", "hydra-core", "numpy")


def describe(cfg: DictConfig, table: ClassTable) -> dict[str, object]:
    """The entries of run.json that are known before the first step; `table` says what the labels mean."""
    choices = cfg.choices
    return {
        "command": command_line("train"),
        "dataset": cfg.dataset.name,
        "classes": list(table.names),
        "wss": cfg.wss.name,
        "uss": cfg.uss.name,
        "rebalancing": choices.get("rebalancing"),
        "label_maker": choices.get("label_maker"),
        "refresh": choices.get("refresh"),
        "features": choices.get("features"),
        "backbone": choices.get("backbone"),
        "decoder": choices.get("decoder"),
        "start": cfg.backbone.get("weights") or "random",
        "seed": cfg.seed,
        "tau": cfg.tau,
        "max_epochs": cfg.trainer.max_epochs,
        "versions": {name: version(name) for name in PACKAGES},
    }
