"""Whether a head has learnt something: clusters of its features against classes that it has never been shown."""

from dataclasses import dataclass

import numpy as np
import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from torch import Tensor

from dhr.building import open_validation
from dhr.dataset.check import scored_ids
from dhr.dataset.classes import IGNORE, ClassTable
from dhr.dataset.reader import Split
from dhr.errors import InputError
from dhr.progress import progress
from dhr.uss.training.modularity import modularity_loss
from dhr.uss.training.module import Codes, CodesModule, FrozenModel, nearest_code_loss
from dhr.uss.training.sampling import at_cells, one_per_window
from dhr.uss.training.settings import ProbeSettings
from dhr.uss.training.starts import spherical_kmeans
from dhr.uss.training.views import ViewDataset
from dhr.uss.training.workshop import Workshop

OBJECTIVES = {"modularity": modularity_loss, "nearest": nearest_code_loss}
MOST_CLUSTERS = 255  # as many as an 8-bit mask tells apart
START_CROPS = 1000  # that probes start from


@dataclass(frozen=True)
class Classes:
    """What clusters are compared with.

    Attributes:
        names: of the classes or of their groups.
        of_label: (256) uint8, which of them a label of a human mask means; IGNORE stays.
    """

    names: tuple[str, ...]
    of_label: np.ndarray

    @classmethod
    def of(cls, table: ClassTable, settings: ProbeSettings, place: str) -> "Classes":
        """The classes of a data set, or their groups in the order in which they come first.

        Raises:
            InputError: the data set has no groups.
        """
        if settings.classes == "all":
            return cls(table.names, np.arange(IGNORE + 1, dtype=np.uint8))
        if table.groups is None:
            raise InputError(f"{place}.probe.classes: groups: {table.name} defines none; use {place}.probe.classes=all")
        names = tuple(dict.fromkeys(table.groups))
        of_label = np.full(IGNORE + 1, IGNORE, np.uint8)
        of_label[: table.num_classes] = [names.index(group) for group in table.groups]
        return cls(names, of_label)

    def clusters(self, settings: ProbeSettings, place: str) -> int:
        """As many as there are classes, unless the recipe says otherwise.

        Raises:
            InputError: too many for an 8-bit mask.
        """
        clusters = settings.clusters or len(self.names)
        if clusters > MOST_CLUSTERS:
            raise InputError(f"{place}.probe.clusters: {clusters}: more than {MOST_CLUSTERS}; use fewer")
        return clusters


def judging_images(cfg: DictConfig) -> tuple[Split, tuple[str, ...]]:
    """The validation split and its images, none where it has no human masks, after a look at every file.

    Raises:
        InputError: some of the human masks are missing, or a file is broken.
    """
    split = open_validation(cfg)
    return split, scored_ids(split)


def learn_probes(
    workshop: Workshop, model: FrozenModel, views: ViewDataset, settings: ProbeSettings, *,
    clusters: int, window: int, name: str,
) -> Tensor:  # fmt: skip
    """(clusters, C) probes of the features of a model, for every model in the same way; no label takes part.

    Args:
        workshop: where the stage is run.
        model: that is probed.
        views: crops that are learnt from.
        settings: of the stage.
        clusters: number of probes.
        window: one feature of every window x window is looked at.
        name: of the stage.
    """
    pl.seed_everything(workshop.seed, workers=True, verbose=False)
    start = torch.zeros(clusters, model.dim)
    if not workshop.is_done(name):
        start = spherical_kmeans(_features(workshop, model, views, window), clusters, seed=workshop.seed)
    stage = CodesModule(
        model,
        Codes(start),
        objective=OBJECTIVES[settings.objective],
        lr=settings.lr,
        window=window,
        halving=settings.halving,
        seed=workshop.seed,
    )
    return workshop.run(name, stage, views, settings).product.codes.detach().clone()


def _features(workshop: Workshop, model: FrozenModel, views: ViewDataset, window: int) -> Tensor:
    """(N,C) features of some crops."""
    loader, found = workshop.loader(views, START_CROPS), []
    for batch in progress(loader, "start of the probes", total=len(loader), visible=workshop.ranks.first):
        maps = model(batch.image.to(workshop.ranks.device)).cpu()
        cells = one_per_window(batch.key, (maps.shape[-2], maps.shape[-1]), window)
        found.append(at_cells(maps, cells).flatten(0, 1))
    return torch.cat(found)
