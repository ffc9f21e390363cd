"""Quality of the labels while training, and their pictures for the report."""

from functools import cached_property
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
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
    """Scores the labels of a few images after each validation and stores their pictures for the report.

    The labels are made by the network that makes labels in a step; the predictions by the averaged weights, as in the
    validation and in predict. Only the first rank does this, so nothing here may wait for the other ranks.

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

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Writes the pictures and logs the scores of the labels."""
        if trainer.sanity_checking or not trainer.is_global_zero or not isinstance(module, SegmentationModule):
            return
        rows = [self._look(module.network, image_id, module.device) for image_id in self.watched.ids]
        table = self.watched.split.table
        for image_id, row, pictures in zip(self.watched.ids, rows, self._of_features, strict=True):
            tags = self.watched.sample(image_id).tags.nonzero()[:, 0]
            names = [table.names[table.first_tag + int(tag)] for tag in tags]
            save_gallery(self.folder / f"{image_id}.npz", tags=names, **row, **pictures)
        if self.labeller is not None and trainer.loggers and all("truth" in row for row in rows):
            pairs = [(torch.from_numpy(row["pseudo_mask"]), torch.from_numpy(row["truth"])) for row in rows]
            scores = score_pairs(pairs, table)
            values = {"miou": scores.miou, "mfpr": scores.mfpr, "mfnr": scores.mfnr}
            for logger in trainer.loggers:
                logger.log_metrics({f"train/label_{key}": value for key, value in values.items()}, trainer.global_step)

    @cached_property
    def _of_features(self) -> list[dict[str, np.ndarray]]:
        """Pictures of the USS features of each image, by name; none where there are no features."""
        features = self.watched.features
        if features is None:
            return [{} for _ in self.watched.ids]
        maps = [features.read(image_id) for image_id in self.watched.ids]
        sizes = [self.watched.split.pixels(image_id).shape[1:] for image_id in self.watched.ids]
        probes = self.probes if self.probes is not None and self.probes.shape[1] == len(maps[0]) else None
        return feature_pictures(maps, [(size[0], size[1]) for size in sizes], probes)

    @torch.no_grad()
    def _look(self, network: SegmentationNetwork, image_id: str, device: torch.device) -> dict[str, np.ndarray]:
        """Image, WSS mask, labels, prediction and truth of one image, as far as there are any."""
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
