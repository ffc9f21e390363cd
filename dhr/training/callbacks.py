"""What happens beside the training itself: label quality, pictures for the report and for wandb."""

from functools import cached_property
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import WandbLogger
from torch import Tensor

from dhr.core.colour import normalise
from dhr.core.numerics import fast_argmax
from dhr.core.sample import Batch
from dhr.evaluation.feature_pictures import feature_pictures
from dhr.evaluation.gallery import save_gallery
from dhr.evaluation.scores import score_pairs
from dhr.network.multi_scale import multi_scale_probabilities
from dhr.network.segmentation import SegmentationNetwork
from dhr.training.average import EmaAverage
from dhr.training.label_maker import Labeller
from dhr.training.module import SegmentationModule
from dhr.training.whole_images import WholeImages


class LabelWatch(pl.Callback):
    """Measures the labels of a few images after each validation and keeps their pictures for the report.

    These are the labels that would be made now, by the network that makes them; the predictions are those of the
    averaged weights, as the scores beside them and what predict writes. Only the first rank looks, so nothing here may
    wait for the others.

    Args:
        watched: the images.
        labeller: makes labels, None for plain training.
        average: predicts.
        folder: of the pictures.
        probes: (C,D) cluster probes of the USS model, None where it has none.
    """

    def __init__(
        self,
        watched: WholeImages,
        *,
        labeller: Labeller | None,
        average: EmaAverage,
        folder: Path,
        probes: Tensor | None = None,
    ) -> None:
        self.watched = watched
        self.labeller = labeller
        self.average = average
        self.folder = folder
        self.probes = probes
        self._showed_features = False  # to wandb, once: they stay the same

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Writes the pictures and logs the scores of the labels."""
        if trainer.sanity_checking or not trainer.is_global_zero or not isinstance(module, SegmentationModule):
            return
        rows = [self._look(module.network, image_id, module.device) for image_id in self.watched.ids]
        for image_id, row, pictures in zip(self.watched.ids, rows, self._of_features, strict=True):
            tags = self.watched.sample(image_id).tags
            save_gallery(self.folder / f"{image_id}.npz", tags=self._names(tags), **row, **pictures)
        self._log_scores(trainer, rows)
        self._log_pictures(trainer, rows)

    @cached_property
    def _of_features(self) -> list[dict[str, np.ndarray]]:
        """What the USS features of each image look like; nothing where there are none."""
        features = self.watched.features
        if features is None:
            return [{} for _ in self.watched.ids]
        maps = [features.read(image_id) for image_id in self.watched.ids]
        height_width = [self.watched.split.pixels(image_id).shape[1:] for image_id in self.watched.ids]
        probes = self.probes if self.probes is not None and self.probes.shape[1] == len(maps[0]) else None
        return feature_pictures(maps, [(size[0], size[1]) for size in height_width], probes)

    @torch.no_grad()
    def _look(self, network: SegmentationNetwork, image_id: str, device: torch.device) -> dict[str, np.ndarray]:
        sample = self.watched.sample(image_id)
        batch = Batch.of([sample], device)
        row = {"image": sample.pixels.permute(1, 2, 0).numpy(), "wss_mask": sample.wss_mask.numpy()}
        if self.labeller is not None:
            labels = self.labeller.whole(batch, network)
            row["seeds"] = labels.seeds[0].to(torch.uint8).cpu().numpy()
            row["pseudo_mask"] = labels.pseudo_mask[0].to(torch.uint8).cpu().numpy()
        image = normalise(sample.pixels).to(device)
        probabilities = multi_scale_probabilities(self.average.network, image, scales=(1.0,), flip=False)
        row["prediction"] = fast_argmax(probabilities, dim=0).to(torch.uint8).cpu().numpy()
        truth = self.watched.truth(image_id)
        return row if truth is None else {**row, "truth": truth.numpy()}

    def _names(self, tags: Tensor) -> list[str]:
        table = self.watched.split.table
        return [table.names[table.first_tag + int(position)] for position in tags.nonzero()[:, 0]]

    def _log_scores(self, trainer: pl.Trainer, rows: list[dict[str, np.ndarray]]) -> None:
        if trainer.logger is None or self.labeller is None or not all("truth" in row for row in rows):
            return
        pairs = [(torch.from_numpy(row["pseudo_mask"]), torch.from_numpy(row["truth"])) for row in rows]
        scores = score_pairs(pairs, self.watched.split.table)
        values = {"miou": scores.miou, "mfpr": scores.mfpr, "mfnr": scores.mfnr}
        for logger in trainer.loggers:
            logger.log_metrics({f"train/label_{key}": value for key, value in values.items()}, trainer.global_step)

    def _log_pictures(self, trainer: pl.Trainer, rows: list[dict[str, np.ndarray]]) -> None:
        names = dict(enumerate(self.watched.split.table.names))
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                masks = [
                    {key: {"mask_data": value, "class_labels": names} for key, value in row.items() if key != "image"}
                    for row in rows
                ]
                logger.log_image("watched", [row["image"] for row in rows], trainer.global_step, masks=masks)
                self._show_features(logger, trainer.global_step)

    def _show_features(self, logger: WandbLogger, step: int) -> None:
        for name in () if self._showed_features else self._of_features[0]:
            logger.log_image(name, [pictures[name] for pictures in self._of_features], step)
        self._showed_features = True
