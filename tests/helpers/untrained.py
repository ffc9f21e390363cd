"""Runs that look finished and were never trained: small networks of random weights, for what only reads a run."""

from pathlib import Path

import torch
from small_networks import image
from tiny import DATASET, NETWORK

from dhr.config.compose import compose
from dhr.config.stored import stored_text
from dhr.dataset.classes import load_classes
from dhr.disk.atomic import write_json
from dhr.disk.layout import RunFolder
from dhr.stage.parts import build_network
from dhr.stage.run_folder import describe

SMALL = (*DATASET, *NETWORK, "rebalancing=none", "crf=none")


def untrained_run(root: Path, *words: str, seed: int = 0) -> RunFolder:
    """A run folder at `root`: `words` are those of `dhr.train` for a small network, by default SMALL."""
    cfg = compose("train", list(words or SMALL))
    table = load_classes(cfg.dataset.classes)
    torch.manual_seed(seed)
    network = build_network(cfg, table)
    with torch.no_grad():
        for _ in range(3):  # so that the batch norms have seen something
            network.train()(image(97, 65).expand(2, 3, 97, 65) * torch.tensor([1.0, 0.5]).view(2, 1, 1, 1))
    run = RunFolder(root)
    run.checkpoints.mkdir(parents=True)
    run.config.write_text(stored_text(cfg))
    write_json(run.record, {**describe(cfg, table), "status": "finished"})
    torch.save({"state_dict": {f"network.{name}": value for name, value in network.state_dict().items()}}, run.last)
    return run
