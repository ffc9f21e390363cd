"""`dhr.extract_uss`: features of every image of a split into its store."""

import logging
from pathlib import Path

import torch
from omegaconf import DictConfig

from dhr.building import feature_store, open_split
from dhr.config.parts import build
from dhr.dataset.photometric import normalise
from dhr.errors import InputError
from dhr.progress import progress
from dhr.ranks import Ranks
from dhr.uss.extractor import multi_scale

log = logging.getLogger("dhr.extract_uss")


@torch.no_grad()
def extract(cfg: DictConfig) -> Path:
    """Fills the feature store of `cfg.split` (the training split if null); images that have features are left alone.

    Returns:
        The folder of the store.

    Raises:
        InputError: the USS model of this configuration cannot be computed here, or an image is unreadable.
    """
    if cfg.uss.extractor is None:
        raise InputError(f"uss={cfg.uss.name}: has no extractor; released feature files belong into {cfg.uss.store}")
    name = cfg.get("split") or cfg.dataset.splits.train
    split, store = open_split(cfg, name), feature_store(cfg, name)
    ranks = Ranks.join()
    extractor = build(cfg.uss.extractor).to(ranks.device).eval()
    mine = ranks.share([split.id(position) for position in range(len(split))])
    todo = [id for id in mine if cfg.overwrite or not store.path(id).exists()]
    for id in progress(todo, f"features {name}", visible=ranks.first):
        image = normalise(split.pixels(id)).to(ranks.device)
        store.write(id, multi_scale(extractor, image, scales=tuple(cfg.uss.scales), flip=cfg.uss.flip))
    ranks.wait()
    log.info(f"{store.folder}: {len(todo)} made, {len(mine) - len(todo)} were there")
    ranks.leave()
    return store.folder
