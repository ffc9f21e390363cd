"""`dhr.prepare`: from downloads, or from nothing for the toy set, to the layout that every other stage reads."""

import logging
from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig

from dhr.config.own import cam_epochs, own_file, own_settings
from dhr.config.own_images import FORM, OF_DOWNLOADS
from dhr.config.parts import build
from dhr.core.errors import InputError
from dhr.core.labels import OWN
from dhr.dataset.classes import ClassTable, load_classes
from dhr.dataset.original.interface import Brought
from dhr.dataset.prepare.preparer import Generate, Preparation, Preparer, Sources, prepare_toy
from dhr.disk.atomic import write_atomically
from dhr.disk.layout import DataLayout
from dhr.disk.manifest import Manifest

NAMED = 3  # converted images in a remark
log = logging.getLogger("dhr.prepare")


def prepare(cfg: DictConfig) -> Preparation:
    """Prepares the configured data set; run again, it only adds what is missing.

    Raises:
        InputError: a download or an image is missing or broken, or a source or limit is given for a data set that is
            drawn.
    """
    if cfg.dataset.classes == OWN and cfg.images is not None:
        prepared = _prepare_own(cfg)
    elif cfg.dataset.generate is None:
        given = {key: cfg[key] and Path(cfg[key]) for key in ("source", "sbd", "aug")}
        sources = Sources(given["source"], given["sbd"], given["aug"], cfg.class_order)
        table = None if cfg.dataset.classes == OWN else load_classes(cfg.dataset.classes)
        prepared = _preparer(cfg, cfg.dataset.name, cfg.dataset.folder, table)(sources)
    else:
        typed = next((key for key in OF_DOWNLOADS if cfg[key] is not None), None)
        if typed is not None:
            raise InputError(
                f"{typed}: {cfg[typed]}: dataset={cfg.dataset.name} is drawn, not downloaded; leave it out"
            )
        if cfg.limit is not None:
            raise InputError(
                f"limit: {cfg.limit}: dataset={cfg.dataset.name} is drawn, not downloaded; use "
                f"dataset.generate.train={cfg.limit}"
            )
        prepared = prepare_toy(Path(cfg.paths.data), generated(cfg.dataset))
    for line in prepared.lines():
        log.info(line)
    return prepared


def _prepare_own(cfg: DictConfig) -> Preparation:
    """Images of the user's own, and the settings by which every command knows them."""
    is_form = cfg.dataset.name == cfg.dataset.folder == FORM
    name = cfg.name if is_form else cfg.dataset.name
    given = {key: cfg[key] and Path(cfg[key]) for key in ("tags", "masks")}
    brought = Brought(given["tags"], given["masks"], cfg.classes, cfg.validation)
    preparer = _preparer(cfg, name, name if is_form else cfg.dataset.folder, None)
    prepared = preparer(Sources(images=Path(cfg.images), brought=brought))
    if not is_form:
        return prepared
    images, renamed = prepared.splits["train"].images, []
    for split in prepared.splits:
        entries = Manifest.open(prepared.folder / split) or ()
        renamed += [f"{entry.original} is {entry.id}" for entry in entries if entry.original is not None]
    path = own_file(cfg.paths.data, "dataset", name)
    done = "stays as it is" if path.is_file() else "written"
    if not path.is_file():
        length = {"epochs": cfg.dataset.max_epochs, "start": cfg.dataset.rebalancing_start}
        write_atomically(path, own_settings(name, cfg.choices.dataset, images, **length).encode())
    remark = f"{path}: {done}; dataset={name} stands for these images in every command"
    first = f"{len(renamed)} images were converted or are called otherwise: {', '.join(renamed[:NAMED])}"
    said = [f"{first}; see {prepared.folder}/<split>/manifest.jsonl"] if renamed else []
    longer = cam_epochs(images)
    few = f"{images} images are few: type cam.epochs={longer} behind train_wss, so that its classifier learns enough"
    return replace(prepared, remarks=(*prepared.remarks, *said, remark, *([] if longer is None else [few])))


def _preparer(cfg: DictConfig, name: str, folder: str, table: ClassTable | None) -> Preparer:
    return Preparer(
        name=name,
        layout=DataLayout(Path(cfg.paths.data), folder),
        table=table,
        download=cfg.dataset.download and build(cfg.dataset.download),
        transfer=cfg.transfer,
        workers=cfg.workers,
        limit=cfg.limit,
        longest=cfg.dataset.image_size,
    )


def generated(dataset: DictConfig) -> Generate:
    """Sizes of the splits, size of the images and seed of a drawn data set."""
    splits = {dataset.splits[key]: dataset.generate[key] for key in ("train", "validation")}
    return Generate(splits, dataset.image_size, dataset.generate.seed)
