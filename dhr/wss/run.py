"""`dhr.train_wss`: masks of the training images from their tags."""

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import load_file, save
from torch import Tensor

from dhr.artifacts import read_json, write_atomically, write_json, write_mask
from dhr.building import open_split, wss_masks
from dhr.config.parts import build
from dhr.dataset.check import TrainingFiles
from dhr.dataset.datamodule import SegmentationData
from dhr.dataset.reader import Split, TrainDataset
from dhr.dataset.transforms import TrainTransform, normalise
from dhr.errors import InputError
from dhr.progress import progress
from dhr.training.bars import progress_bar
from dhr.training.checkpoint import load_strictly
from dhr.wss.cam import TagClassifier, activation_maps, mask_of

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
    _refuse_mixture(folder.parent, cfg)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    model = TagClassifier(build(cfg.wss.recipe), num_tags=split.table.num_tags)
    _train(cfg, model, folder.parent / "classifier.safetensors")
    crf = build(cfg.crf)
    todo = [id for id in _ids(split) if cfg.overwrite or not (folder / f"{id}.png").exists()]
    masks = _masks(model.eval(), split, todo, crf=crf)
    for id, mask in progress(masks, f"masks {split.name}", total=len(todo)):
        write_mask(folder / f"{id}.png", mask.numpy(), split.table.palette)
    log.info(f"{folder}: {len(todo)} made, {len(split) - len(todo)} were there")
    return folder


def _ids(split: Split) -> list[str]:
    return [split.id(position) for position in range(len(split))]


def _train(cfg: DictConfig, model: TagClassifier, weights: Path) -> None:
    """Trains the classifier on the training split, or loads what was trained before."""
    if weights.exists() and not cfg.overwrite:
        log.info(f"{weights}: the classifier is there; overwrite=true trains it anew")
        load_strictly(model, load_file(weights), weights)
        return
    trainer = build(
        cfg.trainer,
        default_root_dir=str(weights.parent),
        logger=False,
        callbacks=[progress_bar()],
    )
    trainer.fit(model, _data(cfg))
    write_atomically(weights, save({name: value.contiguous() for name, value in model.state_dict().items()}))


def _data(cfg: DictConfig) -> SegmentationData:
    settings, split = cfg.dataset, open_split(cfg, cfg.dataset.splits.train)
    train = TrainDataset(
        split=split,
        indices=TrainingFiles(split, None, None).tagged(),
        wss_masks=None,
        features=None,
        grid=(1, 1),
        transform=TrainTransform(
            settings.crop_size, tuple(settings.long_side), settings.flip, tuple(settings.jitter)
        ),
        seed=cfg.seed,
    )
    return SegmentationData(train=train, validation=None, batch_size=settings.batch_size, workers=settings.workers)


def _masks(model: TagClassifier, split: Split, ids: list[str], *, crf: Any) -> Iterator[tuple[str, Tensor]]:
    """Masks in the order of `ids`; the CRFs of some images run while the network sees the next ones."""
    device = torch.device("cuda") if torch.cuda.is_available() else torch.device("cpu")
    model.to(device)

    def refine(maps: Tensor, tags: Tensor, pixels: Tensor) -> Tensor:
        if not bool(tags.any()):
            # Nothing is said to be there: background, or not to be learnt from where there is none.
            return torch.full(pixels.shape[1:], 0 if split.table.has_background else 255, dtype=torch.uint8)
        return mask_of(maps, tags, pixels, crf=crf, gamma=model.recipe.gamma, first_tag=split.table.first_tag)

    with ThreadPoolExecutor(max(getattr(crf, "workers", 1), 1)) as pool:
        for chunk in np.array_split(np.array(ids), max(-(-len(ids) // 16), 1)):
            jobs = []
            for id in chunk.tolist():
                pixels, tags = split.pixels(id), split.tags(id)
                maps = activation_maps(model, normalise(pixels).to(device), tags.to(device)).cpu()
                jobs.append((id, pool.submit(refine, maps, tags, pixels)))
            yield from ((id, job.result()) for id, job in jobs)


def _refuse_mixture(folder: Path, cfg: DictConfig) -> None:
    """The masks of one folder come from one recipe, one seed and one CRF."""
    path = folder / "recipe.json"
    crf = {key: value for key, value in cfg.crf.items() if key != "workers"}
    settings = {"seed": cfg.seed, "recipe": OmegaConf.to_container(cfg.wss.recipe, resolve=True), "crf": crf}
    if path.exists() and read_json(path) != settings and not cfg.overwrite:
        raise InputError(f"{folder}: its masks were made with other settings ({path}); overwrite=true makes them anew")
    write_json(path, settings)
