"""The basis that the features of a split are projected on, fitted to a sample of its images."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

import numpy as np
from torch import Tensor, distributed

from dhr.dataset.split import Split
from dhr.runtime.progress import progress
from dhr.runtime.ranks import Ranks
from dhr.uss.extraction import ExtractionModel, extract_all
from dhr.uss.pca import Basis, Mean, SecondMoment, mean_cosine_change

SAMPLE = 256  # images, spread over the split
Statistic = TypeVar("Statistic", Mean, SecondMoment)
log = logging.getLogger("dhr.extract_uss")


@dataclass(frozen=True)
class PcaSample:
    """Images spread evenly over a split, to which the basis of its features is fitted.

    Attributes:
        ids: of the images.
        split: of the images.
        features: the model.
        ranks: the processes that share the images.
    """

    ids: Sequence[str]
    split: Split
    features: ExtractionModel
    ranks: Ranks

    @classmethod
    def of(cls, ids: Sequence[str], split: Split, features: ExtractionModel, ranks: Ranks) -> Self:
        """At most `SAMPLE` of all ids."""
        spread = np.linspace(0, len(ids) - 1, min(SAMPLE, len(ids))).round()
        return cls([ids[int(position)] for position in spread], split, features, ranks)

    def counted(self, what: Statistic, title: str) -> Statistic:
        """Adds the features of every image to `what` once, summed over the processes, and returns it."""
        own = self.ranks.share(self.ids)
        done = extract_all(self.features, own, self.split.pixels, lambda _, values: what.add(values), writers=1)
        for _ in progress(done, f"{title} {self.split.name}", total=len(own), visible=self.ranks.first):
            pass
        if self.ranks.count > 1:
            distributed.all_reduce(what.total)
        return what

    def first(self) -> Tensor:
        """(D,h,w) of the first image, on the CPU."""
        return self.features(self.split.pixels(self.ids[0])).cpu()


def fitted_basis(sample: PcaSample, components: int | None, path: Path, *, centred: bool) -> Basis:
    """Fits a basis to a sample and saves it.

    Args:
        sample: of the split.
        components: number of directions; None for as many as there are channels, which rotates the features and loses
            nothing.
        path: of the file.
        centred: whether the mean of the sample's features is subtracted first.

    Raises:
        InputError: there are fewer channels, or all features are the same.
    """
    dim = sample.features.extractor.dim
    mean = sample.counted(Mean(dim), "mean").value() if centred else None
    basis = sample.counted(SecondMoment(dim, mean), "components").basis(components or dim)
    if sample.ranks.first:
        basis.save(path)
        energy, change = float(basis.energy.sum()), mean_cosine_change(sample.first(), basis)
        log.info(
            f"{path}: {components or dim} of {dim} directions carry {100 * energy:.2f} % of the energy of "
            f"{len(sample.ids)} images; the cosine of two cells of {sample.ids[0]} changes by {change:.4f} on average"
        )
    return basis
