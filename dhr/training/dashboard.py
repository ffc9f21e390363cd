"""What a validation shows in wandb beside curves: scores of all classes, and pictures of the same few images."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import Logger

from dhr.core.colour import normalise
from dhr.core.labels import IGNORE
from dhr.core.numerics import fast_argmax
from dhr.dataset.split import PictureDataset
from dhr.evaluation.gallery import MAPS, load_gallery, scaled
from dhr.evaluation.scores import as_json
from dhr.network.multi_scale import multi_scale_probabilities
from dhr.training.callbacks import LabelWatch
from dhr.training.metrics import CLASSES, FEATURE_PICTURES, TRAINING_PICTURES, VALIDATION_PICTURES
from dhr.training.module import SegmentationModule
from dhr.training.wandb_board import Board, Drawing

SHOWN = 8  # validation images


class Dashboard(pl.Callback):
    """Fills the board after each validation. Only the first rank does this, so nothing here waits for other ranks.

    Args:
        board: to fill.
        watch: whose pictures of training images are shown; it has to be called before.
        validation: images to show, None where there is no validation.
    """

    def __init__(self, board: Board, watch: LabelWatch, validation: PictureDataset | None) -> None:
        self.board = board
        self.watch = watch
        self.validation = validation
        self._showed_features = False  # once is enough: they stay the same

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Shows scores and pictures, as long as the board takes them."""
        if trainer.sanity_checking or not trainer.is_global_zero or not self.board.is_open:
            return
        step, table = trainer.global_step, self.watch.watched.split.table
        if isinstance(module, SegmentationModule) and module.scores is not None:
            rows: Any = as_json(module.scores, table)["classes"]
            self.board.log_table(CLASSES, rows, step)
        names = {**dict(enumerate(table.names)), IGNORE: "unlabelled"}
        self.board.log_drawings(VALIDATION_PICTURES, [*self._of_validation(module.device)], names, step)
        kept = [(image_id, load_gallery(self.watch.folder / f"{image_id}.npz")) for image_id in self.watch.watched.ids]
        drawings = [_drawn(image_id, arrays["image"], masks_of(arrays)) for image_id, arrays in kept]
        self.board.log_drawings(TRAINING_PICTURES, drawings, names, step)
        for key in () if self._showed_features else FEATURE_PICTURES:
            name = key.rpartition("/")[2]
            pictures = [_drawn(image_id, arrays[name], {}) for image_id, arrays in kept if name in arrays]
            if pictures:
                self.board.log_drawings(key, pictures, {}, step)
        self._showed_features = True

    @torch.no_grad()
    def _of_validation(self, device: torch.device) -> Iterator[Drawing]:
        """Truth and prediction of the first images, predicted as the validation does."""
        pictures = self.validation
        for picture in () if pictures is None else (pictures[number] for number in range(min(SHOWN, len(pictures)))):
            image = normalise(picture.pixels.to(device))
            probabilities = multi_scale_probabilities(self.watch.average.network, image, scales=(1.0,), flip=False)
            masks = {"prediction": fast_argmax(probabilities, dim=0).to(torch.uint8).cpu().numpy()}
            if picture.truth is not None:
                masks["truth"] = picture.truth.numpy()
            yield _drawn(picture.id, picture.pixels.permute(1, 2, 0).numpy(), masks)


def masks_of(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The masks among the arrays of a gallery."""
    return {name: arrays[name] for name in MAPS if name in arrays}


def _drawn(title: str, image: np.ndarray, masks: Mapping[str, np.ndarray]) -> Drawing:
    """At the size of the pictures in the report: photographs shrunk, small images enlarged by whole factors."""
    return Drawing(title, scaled(image), {name: scaled(mask) for name, mask in masks.items()})


def dashboards(loggers: Sequence[Logger], watch: LabelWatch, validation: PictureDataset | None) -> list[Dashboard]:
    """One for the board among the loggers, if there is one."""
    return [Dashboard(logger, watch, validation) for logger in loggers if isinstance(logger, Board)]
