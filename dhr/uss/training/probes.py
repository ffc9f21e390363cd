"""Cluster probes of the features of a head, which are compared with classes that it never learnt."""

from dataclasses import dataclass

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from dhr.core.errors import InputError
from dhr.core.labels import IGNORE
from dhr.core.numerics import unit_vectors
from dhr.dataset.classes import ClassTable
from dhr.runtime.progress import progress
from dhr.uss.training.crops import UnlabelledCropDataset
from dhr.uss.training.modularity import modularity_loss
from dhr.uss.training.module import Codes, CodesModule, FrozenModel, nearest_code_loss
from dhr.uss.training.sampling import at_cells, one_per_window
from dhr.uss.training.settings import ProbeSettings
from dhr.uss.training.stages import StageRunner

OBJECTIVES = {"modularity": modularity_loss, "nearest": nearest_code_loss}
MOST_CLUSTERS = 255  # values of an 8-bit mask besides IGNORE
START_CROPS = 1000  # whose features are clustered for the start of the probes
STARTS, ROUNDS = 10, 20  # every other start ends in a poor optimum; clusters converge in about ten rounds


@dataclass(frozen=True)
class Classes:
    """What clusters are compared with.

    Attributes:
        names: of the classes or of their groups.
        of_label: (256) uint8, index in `names` of every label of a human mask; IGNORE where it counts as none.
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


def learn_probes(
    runner: StageRunner, model: FrozenModel, views: UnlabelledCropDataset, settings: ProbeSettings, *,
    clusters: int, window: int, name: str,
) -> Tensor:  # fmt: skip
    """(clusters, C) probes of the features of a model, learnt without labels and for every model in the same way.

    Args:
        runner: where the stage is run.
        model: that is probed.
        views: crops that are learnt from.
        settings: of the stage.
        clusters: number of probes.
        window: one feature of every window x window is used.
        name: of the stage.
    """
    pl.seed_everything(runner.seed, workers=True, verbose=False)
    start = torch.zeros(clusters, model.dim)
    if not runner.is_done(name):
        start = spherical_kmeans(_features(runner, model, views, window), clusters, seed=runner.seed)
    stage = CodesModule(
        model,
        Codes(start),
        objective=OBJECTIVES[settings.objective],
        lr=settings.lr,
        window=window,
        halving=settings.halving,
        seed=runner.seed,
    )
    return runner.run(name, stage, views, settings).product.codes.detach().clone()


def _features(runner: StageRunner, model: FrozenModel, views: UnlabelledCropDataset, window: int) -> Tensor:
    """(N,C) features of some crops."""
    loader, features = runner.loader(views, START_CROPS), []
    for batch in progress(loader, "start of the probes", total=len(loader), visible=runner.ranks.first):
        maps = model(batch.image.to(runner.ranks.device)).cpu()
        cells = one_per_window(batch.key, (maps.shape[-2], maps.shape[-1]), window)
        features.append(at_cells(maps, cells).flatten(0, 1))
    return torch.cat(features)


def spherical_kmeans(vectors: Tensor, count: int, *, seed: int) -> Tensor:
    """Unit centres (count,D) that make the mean of the largest cosine of each vector (N,D) to a centre large.

    k-means++ seeding (Arthur and Vassilvitskii, 2007) and Lloyd's rounds (Dhillon and Modha, 2001), `STARTS` times; the
    best result counts. Probes that start at random vectors may attract no feature, or share a class, whatever the
    features are: then a comparison of two heads would depend on luck.
    """
    generator = torch.Generator().manual_seed(seed)
    unit = unit_vectors(vectors, dim=1).cpu()
    results = []
    for _ in range(STARTS):
        # Seeds: each vector is drawn with its squared distance to the seeds before as weight.
        first = int(torch.randint(len(unit), (), generator=generator))
        chosen, distance = [first], 1 - unit @ unit[first]
        while len(chosen) < count:
            weights = distance.clamp_min(0) + 1e-12  # all may be alike; 1 - cos is half the squared distance
            chosen.append(int(torch.multinomial(weights, 1, generator=generator)))
            distance = torch.minimum(distance, 1 - unit @ unit[chosen[-1]])
        centres = unit[chosen]
        for _ in range(ROUNDS):
            own = (unit @ centres.T).argmax(1)
            sums = torch.zeros_like(centres).index_add_(0, own, unit)
            # A centre without a vector stays where it is.
            centres = torch.where(sums.norm(dim=1, keepdim=True) > 0, unit_vectors(sums, dim=1), centres)
        results.append(centres)
    return max(results, key=lambda centres: float((unit @ centres.T).amax(1).mean()))
