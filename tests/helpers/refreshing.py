"""What callbacks saw of a training whose labels are made in rounds."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from dhr.config.parts import build
from dhr.config.stored import load_run_config
from dhr.core.labels import IGNORE
from dhr.core.sample import Batch
from dhr.dataset.split import whole_sample
from dhr.disk.layout import RunFolder
from dhr.disk.weights.state import read_checkpoint
from dhr.stage.parts import build_network, feature_store, open_split, wss_masks
from dhr.training.metrics import LABELS


class Spy(pl.Callback):
    """Calls `at` when an epoch starts, after the round, and keeps what the crops of every epoch were labelled with."""

    def __init__(self, at: Callable[[int], None] = lambda epoch: None) -> None:
        self.at = at
        self.crops: list[tuple[int, str, torch.Tensor]] = []
        self.with_features: set[bool] = set()

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.at(trainer.current_epoch)

    def on_train_batch_start(self, trainer: pl.Trainer, module: Any, batch: Batch, _: int) -> None:
        self.with_features.add(batch.uss_features is not None)
        self.crops += [(trainer.current_epoch, *crop) for crop in zip(batch.ids, batch.wss_mask, strict=True)]

    def seen(self, epochs: set[int], image_id: str) -> set[int]:
        """Labels of the crops of an image in some epochs."""
        masks = [mask for epoch, each, mask in self.crops if epoch in epochs and each == image_id]
        return {int(label) for mask in masks for label in mask.unique()} - {IGNORE}


def relabelled(run: RunFolder, checkpoint: Path, *, key: str) -> dict[str, np.ndarray]:
    """What the rebalancer says of every whole image with the weights of a checkpoint, one after the other."""
    cfg = load_run_config(run.root)
    split = open_split(cfg, "train")
    network = build_network(cfg, split.table).eval()
    state = read_checkpoint(checkpoint)[key]
    network.load_state_dict({name.removeprefix("network."): value for name, value in state.items()})
    rebalancer = build(cfg.rebalancing.rebalancer, first_tag=1, crf=build(cfg.crf))
    masks, features = wss_masks(cfg, "train"), feature_store(cfg, "train")
    found = {}
    for image_id in split.layout.ids("train"):
        sample = whole_sample(split, image_id, wss_masks=masks, features=features, stride=cfg.uss.stride)
        batch = Batch.of([sample], torch.device("cpu"))
        with torch.no_grad():
            found[image_id] = rebalancer(batch, network(batch.image)).pseudo_mask[0].numpy()
    return found


def statistics_of(run: RunFolder) -> list[dict[str, float]]:
    """Every row of metrics.csv that has statistics of labels."""
    with run.metrics.open(newline="") as file:
        rows = [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]
    return [row for row in rows if row.keys() & set(LABELS)]
