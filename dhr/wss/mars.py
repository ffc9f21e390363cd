"""MARS: masks of another method without what always lies beside its classes (Jo, Yu, Kim and Pan, ICCV 2023)."""

import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Gt, Le
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from dhr.core.errors import InputError
from dhr.core.ranges import Count, Epoch, Scales, SmallCount
from dhr.dataset.check import TrainingFiles
from dhr.dataset.split import MaskFolder, Split, whole_sample
from dhr.disk.atomic import read_json, write_atomically
from dhr.disk.ledger import Ledger, digest_of
from dhr.disk.mark import sha256_of
from dhr.runtime.pools import cores, map_ahead
from dhr.runtime.progress import progress
from dhr.training.average import EmaAverage
from dhr.wss.complement import ComplementedModule, Teacher
from dhr.wss.debias import BACKGROUND, centroids_of, contrast, debiased_centroids, likeness, without_bias
from dhr.wss.prediction import tagged_masks
from dhr.wss.recipe import Step
from dhr.wss.workshop import Workshop

KEY = "centroids"  # the only tensor of its file
log = logging.getLogger("dhr.train_wss")


@dataclass(frozen=True)
class MarsRecipe:
    """How masks are debiased, and how a network learns them. The training code was never released.

    Attributes:
        epochs: of the network; not published.
        start_epoch: first epoch in which the teacher complements unknown pixels; not published. Before, it has seen
            too little to say anything, and they are not learnt.
        clusters: per label of an image, K_fg = K_bg, as published.
        kept: share of the centroids of a class that are far enough from the backgrounds, as published.
        against: what a pixel's likeness to its classes has to exceed: one half, as published, or its likeness to the
            background of its image.
        scales: factors on the size of the images whose masks are made.
        flip: whether the mirrored image is averaged in.
    """

    seen: ClassVar[tuple[str, ...]] = ("source", "uss", "backbone")
    of_masks: ClassVar[frozenset[str]] = frozenset({"scales", "flip"})
    epochs: Count
    start_epoch: Epoch = 1
    clusters: SmallCount = 2
    kept: Annotated[float, Gt(0), Le(1)] = 0.4
    against: Literal["half", "background"] = "half"
    scales: Scales = (1.0,)
    flip: bool = True

    def steps(self, workshop: Workshop) -> Sequence[Step]:
        """See `Recipe`: debiased centroids, debiased masks, the network that learns them, and its masks."""
        biased, table = _source_of(workshop), workshop.learnt.table
        origin = {"source": _origin(biased, workshop.learnt), "features": _made_with(workshop.features.record)}

        centroids = CentroidStep(self, workshop, biased, digest_of({**origin, **self._of_centroids}))
        debiased = workshop.between("debiased", centroids.debiased, **origin)
        average = EmaAverage(workshop.optimizer.ema_decay)
        teacher = Teacher(average, workshop.crf, table.first_tag)
        how: dict[str, Any] = {"network": workshop.network_settings, "crf": workshop.crf_settings, **origin}
        file = workshop.file("network", **how)
        if not file.is_there() and (centroids.amount() or debiased.amount()):
            TrainingFiles(workshop.learnt, biased, workshop.features).tagged()
        start = workshop.network(trained=file.has_learnt())
        module = ComplementedModule(
            start, teacher=teacher, start_epoch=self.start_epoch, optimizer=workshop.optimizer, table=table
        )
        masks = MaskFolder(debiased.folder, table.num_classes)
        network = workshop.training(file, module, epochs=self.epochs, masks=masks, average=average)
        predicted = partial(
            tagged_masks, module.network, workshop.wanted, scales=self.scales, flip=self.flip, crf=workshop.crf
        )
        return centroids, debiased, network, workshop.masks(predicted, network)

    @property
    def _of_centroids(self) -> dict[str, object]:
        return {"clusters": self.clusters, "kept": self.kept}


@dataclass
class CentroidStep:
    """Finds the debiased centroids in one pass over the features, and keeps them in a small file.

    Attributes:
        recipe: how.
        shop: images and features.
        biased: the masks.
        digest: of all that decides what is found.
        values: (K,D) of every class, there after `run`.
    """

    recipe: MarsRecipe
    shop: Workshop
    biased: MaskFolder
    digest: str
    values: Tensor | None = field(default=None, init=False)
    name: str = "centroids"
    unit: str = "images"

    @property
    def path(self) -> Path:
        """Their file."""
        return self.shop.folder.parent / f"{self.name}.safetensors"

    def amount(self) -> int:
        """See `Step`; a file of other settings is out of date: it costs one pass, and nothing else is made of it."""
        return 0 if not self.shop.overwrite and self._stored() is not None else len(self.shop.learnt)

    def trial(self) -> float:
        """See `Step`."""
        ids, start = self.shop.learnt.all_ids(), time.perf_counter()
        self._of_image(ids[len(ids) // 2])
        return (time.perf_counter() - start) / cores()

    def run(self) -> None:
        """See `Step`. Each process makes them, since all need them, and waiting for one of them would take as long."""
        ranks = self.shop.join()
        if ranks is None:
            return
        self.values = None if self.shop.overwrite else self._stored()
        if self.values is not None:
            return
        ids = self.shop.learnt.all_ids()
        with ThreadPoolExecutor(cores()) as pool:
            images = map_ahead(pool, self._of_image, ids, workers=cores())
            self.values = debiased_centroids(
                progress(images, f"{self.name} {self.shop.learnt.name}", total=len(ids), visible=ranks.first),
                num_classes=self.shop.learnt.table.num_classes,
                kept=self.recipe.kept,
            )
        if ranks.first:
            write_atomically(self.path, save({KEY: self.values}, metadata={"settings": self.digest}))
            log.info(f"{self.path}: of {len(ids)} images")

    def debiased(self, ids: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
        """Ids and debiased masks (H,W) uint8: pixels that only seem to be of their class are IGNORE.

        So are pixels to which the source gave no label: neither has a label that can be trusted.
        """

        def debias(image_id: str) -> tuple[str, Tensor]:
            shop, features = self.shop, self.shop.features.read(image_id)
            seen = whole_sample(shop.learnt, image_id, wss_masks=self.biased, features=None, stride=1)
            values = self.values
            if values is None:  # a trial
                values = torch.zeros(shop.learnt.table.num_classes, len(features))
            of_tags = values[shop.learnt.table.first_tag :][seen.tags > 0]
            size = (seen.wss_mask.shape[0], seen.wss_mask.shape[1])
            if self.recipe.against == "half":
                foreground = likeness(features, of_tags, size)
            else:
                own = centroids_of(features, seen.wss_mask, count=self.recipe.clusters)
                foreground = contrast(
                    features, of_tags, own.get(BACKGROUND, features.new_zeros(0, len(features))), size
                )
            return image_id, without_bias(seen.wss_mask, foreground, seen.pixels, crf=shop.crf)

        workers = max(self.shop.crf.workers, 1)
        with ThreadPoolExecutor(workers) as pool:
            yield from map_ahead(pool, debias, ids, workers=workers)

    def _of_image(self, image_id: str) -> dict[int, Tensor]:
        seen = whole_sample(self.shop.learnt, image_id, wss_masks=self.biased, features=None, stride=1)
        return centroids_of(self.shop.features.read(image_id), seen.wss_mask, count=self.recipe.clusters)

    def _stored(self) -> Tensor | None:
        """What is stored with these settings; None if it is not there, or with others."""
        try:
            with safe_open(self.path, "pt") as file:
                current = (file.metadata() or {}).get("settings") == self.digest
                return file.get_tensor(KEY) if current else None
        except (SafetensorError, OSError):
            return None


def _source_of(workshop: Workshop) -> MaskFolder:
    """The masks that are debiased.

    Raises:
        InputError: there are none, they are those that are to be made, or the data set has no background.
    """
    if workshop.source is None:
        raise InputError("wss.source: null: wss=mars improves the masks of another method; use wss.source=cam")
    if workshop.source.masks.folder.parent == workshop.folder.parent:
        raise InputError(
            f"wss.source: {workshop.source.name}: its masks lie where those of wss=mars go; use wss.source=cam, or "
            "wss.masks=<folder>/{split} for a second round"
        )
    if not workshop.learnt.table.has_background:
        raise InputError(
            "wss=mars: needs a background class, from which it tells the classes of a mask, and this data set has "
            f"none; use wss={workshop.source.name}"
        )
    return workshop.source.masks


def _origin(masks: MaskFolder, split: Split) -> str:
    """Digest of what masks were made with; where they do not say so, of the masks.

    Raises:
        InputError: one is missing.
    """
    made = _made_with(Ledger(masks.folder).settings)
    if made is not None:
        return made
    paths = [masks.path(image_id) for image_id in split.all_ids()]
    missing = next((path for path in paths if not path.exists()), None)
    if missing is not None:
        raise InputError(f"{missing}: this {masks.what} is missing; {masks.cure}")
    with ThreadPoolExecutor() as pool:
        return digest_of({"masks": list(pool.map(sha256_of, paths))})


def _made_with(record: Path) -> str | None:
    """Digest of a record of settings; None where there is none, as beside masks and features from elsewhere."""
    return digest_of(read_json(record)) if record.is_file() else None
