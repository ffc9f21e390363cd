"""The predictor of a run or of a file of weights, and what its masks depend on."""

import torch
from omegaconf import DictConfig

from dhr.config.parts import build, without_saw
from dhr.dataset.classes import ClassTable
from dhr.disk.mark import sha256_of
from dhr.network.predictor import Predictor
from dhr.network.tiles import Tiles
from dhr.stage.source import Source

NETWORK = ("backbone", "decoder", "classifier")


def predictor_of(
    cfg: DictConfig, source: Source, table: ClassTable, device: torch.device, *, tiles: Tiles | None = None
) -> Predictor:
    """The network of `source` on a device, with the test-time augmentation and CRF of `cfg`."""
    return Predictor(
        network=source.network(table).to(device).eval(),
        crf=build(cfg.crf),
        scales=scales_of(cfg),
        flip=cfg.flip,
        minimum_probability=cfg.minimum_probability,
        device=device,
        tiles=tiles,
        longest=cfg.longest,
        precision=cfg.precision,
    )


def scales_of(cfg: DictConfig) -> tuple[float, ...]:
    """The test scales that are asked for, or those of the data set."""
    return tuple(cfg.dataset.test_scales if cfg.scales is None else cfg.scales)


def settings_of(cfg: DictConfig, source: Source, table: ClassTable) -> dict[str, object]:
    """Everything that determines masks beside their images."""
    parts = {name: without_saw(source.settings[name]) for name in NETWORK}
    return {
        "weights": sha256_of(source.weights),
        **{name: {key: value for key, value in part.items() if key != "weights"} for name, part in parts.items()},
        "classes": list(table.names),
        "scales": list(scales_of(cfg)),
        "flip": cfg.flip,
        "minimum_probability": cfg.minimum_probability,
        "crf": {key: value for key, value in without_saw(cfg.crf).items() if key != "workers"},
        **({} if cfg.longest is None else {"longest": cfg.longest}),
        **({} if cfg.precision == "fp32" else {"precision": cfg.precision}),
    }
