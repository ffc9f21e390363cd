"""`dhr.train_wss`: masks of the training images from their tags."""

import logging
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf

from dhr.config.parts import build, check_signatures, without_saw
from dhr.config.provenance import SAW, file_of_letters, letters_beside, letters_of_making
from dhr.core.errors import InputError
from dhr.dataset.transforms import TrainTransform
from dhr.disk.atomic import write_json
from dhr.stage.cures import making_of_masks
from dhr.stage.parts import build_backbone, build_network, feature_store, open_split, trainer_of, wss_masks
from dhr.training.fitting import is_first_process
from dhr.wss.recipe import Recipe, carry_out
from dhr.wss.workshop import Source, Workshop

STEPS = ("accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm")  # of the trainer, in what is learnt
CROPS = ("name", "crop_size", "long_side", "batch_size", "jitter", "flip")  # what decides which crops are learnt


def train_wss(cfg: DictConfig) -> Path:
    """Does the steps of a WSS method that are not done yet; the last one writes the masks that are missing.

    Returns:
        The folder of the masks.

    Raises:
        InputError: this method has no recipe, what it starts from is missing, or what is there was made with other
            settings.
    """
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # after its import, which sets it to INFO
    check_signatures(cfg)
    if cfg.wss.recipe is None:
        raise InputError(f"wss={cfg.wss.name}: these masks cannot be made here; put them into {cfg.wss.masks}")
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    recipe = recipe_of(cfg, cfg.wss.recipe)
    workshop = workshop_of(cfg, recipe)
    carry_out(recipe, workshop)
    saw = letters_of_making(cfg, recipe.seen)
    if is_first_process() and letters_beside(workshop.folder) != saw:
        write_json(file_of_letters(workshop.folder), {SAW: saw})
    return workshop.folder


def workshop_of(cfg: DictConfig, recipe: Recipe) -> Workshop:
    """The data and the settings of a call."""
    settings, learnt = cfg.dataset, open_split(cfg, cfg.dataset.splits.train)
    wanted = open_split(cfg, cfg.split or learnt.name)
    dataset: Any = OmegaConf.to_container(settings, resolve=True)
    crf = {key: value for key, value in without_saw(cfg.crf).items() if key != "workers"}
    trainer = {key: cfg.trainer[key] for key in STEPS if cfg.trainer.get(key) is not None}
    return Workshop(
        learnt=learnt,
        wanted=wanted,
        folder=wss_masks(cfg, wanted.name).folder,
        source=_source(cfg, learnt.name),
        features=feature_store(cfg, learnt.name),
        network=partial(build_network, cfg, learnt.table),
        optimizer=build(cfg.optimizer),
        crf=build(cfg.crf),
        settings={
            "seed": cfg.seed,
            "dataset": {key: dataset[key] for key in CROPS},
            "recipe": without_saw(cfg.wss.recipe),
            "precision": cfg.trainer.precision,
            **({"trainer": trainer} if trainer else {}),
        },
        of_masks=recipe.of_masks,
        network_settings={key: without_saw(cfg[key]) for key in ("backbone", "decoder", "classifier", "optimizer")},
        crf_settings=crf,
        transform=TrainTransform(settings.crop_size, tuple(settings.long_side), settings.flip, tuple(settings.jitter)),
        batch_size=settings.batch_size,
        workers=settings.workers,
        seed=cfg.seed,
        make_trainer=trainer_of(cfg.trainer),
        overwrite=cfg.overwrite,
        precision=cfg.precision,
        with_maps=cfg.maps,
    )


def _source(cfg: DictConfig, split: str) -> Source | None:
    node = cfg.wss.source
    if node is None:
        return None
    recipe = None if node.recipe is None else partial(recipe_of, cfg, node.recipe)
    return Source(node.name, wss_masks(cfg, split, node), recipe, making_of_masks(cfg.dataset.name, node))


def recipe_of(cfg: DictConfig, node: DictConfig) -> Recipe:
    """The recipe of a method or of its source; a backbone of its own is built when the method says what for."""
    plain = without_saw(node)
    parts = {}
    if plain.pop("backbone", None) is not None:
        place = "cam.backbone" if node == cfg.cam else "wss.recipe.backbone"
        parts["backbone"] = partial(build_backbone, node.backbone, place=place)
    recipe: Recipe = build(plain, **parts)
    return recipe
