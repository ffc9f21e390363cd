"""A WSS method with masks before its training, and a call of it as a script: python seeded.py <words>."""

import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import pytorch_lightning as pl
import torch
from torch import Tensor

from dhr.config.compose import compose
from dhr.dataset.split import MaskFolder, Split
from dhr.stage.train_wss import recipe_of, workshop_of
from dhr.wss.cam import CamRecipe, TagClassifier
from dhr.wss.recipe import Step, carry_out
from dhr.wss.workshop import Workshop


@dataclass(frozen=True)
class Seeded:
    """Masks that show the first tag everywhere, a classifier that reads them, and the same masks in the end."""

    seen: ClassVar[tuple[str, ...]] = ()
    of_masks: ClassVar[frozenset[str]] = CamRecipe.of_masks
    cam: CamRecipe
    colour: int = 0

    def steps(self, workshop: Workshop) -> Sequence[Step]:
        file = workshop.file("classifier", colour=self.colour)
        model = TagClassifier(self.cam, num_tags=workshop.learnt.table.num_tags, trained=file.has_learnt())
        seeds = workshop.between("seeds", partial(first_tags, workshop.learnt), colour=self.colour)
        training = workshop.training(file, model, epochs=self.cam.epochs, masks=seeds_of(workshop))
        return seeds, training, workshop.masks(partial(first_tags, workshop.wanted), training)


def seeds_of(workshop: Workshop) -> MaskFolder:
    """Where the masks of the first step lie."""
    return MaskFolder(workshop.folder.parent / ".seeds" / workshop.learnt.name, workshop.learnt.table.num_classes)


def first_tags(split: Split, ids: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
    for image_id in ids:
        tag = int(split.tags(image_id).argmax()) + split.table.first_tag
        yield image_id, torch.full(split.pixels(image_id).shape[1:], tag, dtype=torch.uint8)


def workshop(words: Sequence[str]) -> tuple[CamRecipe, Workshop]:
    """What train_wss works with, and the recipe of wss=cam."""
    cfg = compose("train_wss", words)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    recipe = recipe_of(cfg, cfg.wss.recipe)
    assert isinstance(recipe, CamRecipe)
    return recipe, workshop_of(cfg, recipe)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    cam, shop = workshop(sys.argv[1:])
    carry_out(Seeded(cam), shop)
