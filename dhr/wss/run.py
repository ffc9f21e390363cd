"""`dhr.train_wss`: masks of the training images from their tags."""

import logging
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from safetensors.torch import save
from torch import Tensor, nn

from dhr.artifacts import read_json, write_atomically, write_json, write_mask
from dhr.building import open_split, wss_masks
from dhr.config.parts import build
from dhr.dataset.check import TrainingFiles
from dhr.dataset.datamodule import SegmentationData
from dhr.dataset.photometric import normalise
from dhr.dataset.reader import Split, TrainDataset
from dhr.dataset.transforms import TrainTransform
from dhr.errors import InputError
from dhr.progress import progress
from dhr.ranks import Ranks
from dhr.soundness import DIVERGED, naming
from dhr.training.fitting import Fitting
from dhr.weights import load_strictly, read_weights
from dhr.wss.cam import TagClassifier, activation_maps, mask_of

RECIPE = "recipe.json"  # beside the masks: what they were made with
log = logging.getLogger("dhr.train_wss")


def make_masks(cfg: DictConfig) -> Path:
    """Trains the classifier, unless that is done, and writes the masks that are missing.

    Returns:
        The folder of the masks.

    Raises:
        InputError: this method has no recipe, or its masks were made with other settings.
    """
    if cfg.wss.recipe is None:
        raise InputError(f"wss={cfg.wss.name}: these masks cannot be made here; put them into {cfg.wss.masks}")
    split = open_split(cfg, cfg.split or cfg.dataset.splits.train)
    folder = wss_masks(cfg, split.name).folder
    ids = [split.id(position) for position in range(len(split))]
    _refuse_mixture(folder.parent, cfg)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    model = TagClassifier(build(cfg.wss.recipe), num_tags=split.table.num_tags)
    weights = folder.parent / "classifier.safetensors"
    if cfg.overwrite or not weights.exists():
        data = _data(cfg)
        _start_anew(folder, cfg, ids)
        ranks = _train(cfg, model, data, weights)
    else:
        ranks = Ranks.join()
        log.info(f"{weights}: the classifier is there; overwrite=true trains it anew")
    load_strictly(model, read_weights(weights), weights)
    mine = ranks.share(ids)
    todo = [id for id in mine if not (folder / f"{id}.png").exists()]
    masks = _masks(model.eval(), split, todo, crf=build(cfg.crf), device=ranks.device)
    for id, mask in progress(masks, f"masks {split.name}", total=len(todo), visible=ranks.first):
        write_mask(folder / f"{id}.png", mask.numpy(), split.table.palette)
    ranks.wait()
    log.info(f"{folder}: {len(todo)} made, {len(mine) - len(todo)} were there")
    ranks.leave()
    return folder


def _train(cfg: DictConfig, model: TagClassifier, data: SegmentationData, weights: Path) -> Ranks:
    """Trains the classifier on the training split; returns the rank of this process."""
    checkpoints = weights.parent / "checkpoints"
    fitting = Fitting(cfg.trainer, checkpoints, seed=cfg.seed, logger=False)
    data.share(fitting.processes)
    fitting.run(model, data)
    backbone: Any = model.backbone
    # For networks that start from this classifier, as others start from ImageNet: backbone.weights=<file>.
    _save(weights.parent / "backbone.safetensors", backbone.layers)
    _save(weights, model)
    trainer = fitting.trainer
    ranks = Ranks(trainer.global_rank, trainer.world_size, trainer.strategy.root_device)
    ranks.wait()
    if ranks.first:
        shutil.rmtree(checkpoints, ignore_errors=True)  # all that is needed of it is in the weights
    return ranks


@rank_zero_only
def _save(path: Path, part: nn.Module) -> None:
    write_atomically(path, save({name: value.contiguous() for name, value in part.state_dict().items()}))


def _data(cfg: DictConfig) -> SegmentationData:
    settings, split = cfg.dataset, open_split(cfg, cfg.dataset.splits.train)
    train = TrainDataset(
        split=split,
        indices=TrainingFiles(split, None, None).tagged(),
        wss_masks=None,
        features=None,
        grid=(1, 1),
        transform=TrainTransform(settings.crop_size, tuple(settings.long_side), settings.flip, tuple(settings.jitter)),
        seed=cfg.seed,
    )
    return SegmentationData(train=train, validation=None, batch_size=settings.batch_size, workers=settings.workers)


def _masks(
    model: TagClassifier, split: Split, ids: list[str], *, crf: Any, device: torch.device
) -> Iterator[tuple[str, Tensor]]:
    """Masks in the order of `ids`; the CRFs of some images run while the network sees the next ones."""
    model.to(device)

    def refine(id: str, maps: Tensor, tags: Tensor, pixels: Tensor) -> Tensor:
        if not bool(tags.any()):
            # Nothing is said to be there: background, or not to be learnt from where there is none.
            return torch.full(pixels.shape[1:], 0 if split.table.has_background else 255, dtype=torch.uint8)
        with naming([id], DIVERGED):
            return mask_of(maps, tags, pixels, crf=crf, gamma=model.recipe.gamma, first_tag=split.table.first_tag)

    with ThreadPoolExecutor(max(getattr(crf, "workers", 1), 1)) as pool:
        for chunk in np.array_split(np.array(ids), max(-(-len(ids) // 16), 1)):
            jobs = []
            for id in chunk.tolist():
                pixels, tags = split.pixels(id), split.tags(id)
                maps = activation_maps(model, normalise(pixels).to(device), tags.to(device)).cpu()
                jobs.append((id, pool.submit(refine, id, maps, tags, pixels)))
            yield from ((id, job.result()) for id, job in jobs)


def _settings(cfg: DictConfig) -> dict[str, object]:
    """The masks of one folder come from one recipe, one seed and one CRF."""
    crf = {key: value for key, value in cfg.crf.items() if key != "workers"}
    return {"seed": cfg.seed, "recipe": OmegaConf.to_container(cfg.wss.recipe, resolve=True), "crf": crf}


def _refuse_mixture(folder: Path, cfg: DictConfig) -> None:
    path = folder / RECIPE
    if path.exists() and read_json(path) != _settings(cfg) and not cfg.overwrite:
        raise InputError(f"{folder}: its masks were made with other settings ({path}); overwrite=true makes them anew")


@rank_zero_only
def _start_anew(folder: Path, cfg: DictConfig, ids: Sequence[str]) -> None:
    """Discards what is to be overwritten before the settings change, so that a kill leaves no mixture."""
    for path in (folder.parent / "classifier.safetensors", *(folder / f"{id}.png" for id in ids)):
        if cfg.overwrite:
            path.unlink(missing_ok=True)
    write_json(folder.parent / RECIPE, _settings(cfg))
