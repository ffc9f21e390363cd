"""`dhr.prepare`: from downloads, or from nothing for the toy set, to the layout that every other stage reads."""

import logging
from pathlib import Path

from omegaconf import DictConfig

from dhr.config.parts import build
from dhr.core.errors import InputError
from dhr.dataset.classes import load_classes
from dhr.dataset.prepare.preparer import Generate, Preparation, Preparer, Sources, prepare_toy
from dhr.disk.layout import DataLayout

log = logging.getLogger("dhr.prepare")


def prepare(cfg: DictConfig) -> Preparation:
    """Prepares the configured data set; run again, it only adds what is missing.

    Raises:
        InputError: a download is missing or broken, or a source or limit is given for a data set that is drawn.
    """
    given = {key: cfg[key] and Path(cfg[key]) for key in ("source", "sbd", "aug")}
    sources = Sources(**given, class_order=cfg.class_order)
    if cfg.dataset.generate is None:
        prepared = Preparer(
            name=cfg.dataset.name,
            layout=DataLayout(Path(cfg.paths.data), cfg.dataset.folder),
            table=load_classes(cfg.dataset.classes),
            download=cfg.dataset.download and build(cfg.dataset.download),
            transfer=cfg.transfer,
            workers=cfg.workers,
            limit=cfg.limit,
        )(sources)
    else:
        if sources != Sources():
            raise InputError(f"source: {cfg.source}: dataset={cfg.dataset.name} is drawn, not downloaded; leave it out")
        if cfg.limit is not None:
            raise InputError(
                f"limit: {cfg.limit}: dataset={cfg.dataset.name} is drawn, not downloaded; use "
                f"dataset.generate.train={cfg.limit}"
            )
        prepared = prepare_toy(Path(cfg.paths.data), generated(cfg.dataset))
    for line in prepared.lines():
        log.info(line)
    return prepared


def generated(dataset: DictConfig) -> Generate:
    """Sizes of the splits, size of the images and seed of a drawn data set."""
    splits = {dataset.splits[key]: dataset.generate[key] for key in ("train", "validation")}
    return Generate(splits, dataset.image_size, dataset.generate.seed)
