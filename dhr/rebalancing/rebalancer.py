"""DHR in one place (Jo et al., ECCV 2024, section 3): from a crop and what the network says of it to its labels."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from dhr.core.sample import Batch, NetworkOutput
from dhr.crf.interface import Crf, Field
from dhr.rebalancing.inter_class import Heatmaps
from dhr.rebalancing.seed import SeedStep
from dhr.rebalancing.view import Evidence, View


@dataclass(frozen=True)
class Relabelled:
    """Masks (B,H,W) of class indices: after step 1, and what the network is to learn."""

    seeds: Tensor
    pseudo_mask: Tensor


class InterClassStep(Protocol):
    """Step 2."""

    def __call__(self, view: View, seeds: Tensor) -> Heatmaps:
        """Heat maps of every class in the seeded mask."""
        ...


class IntraClassStep(Protocol):
    """Step 3."""

    def __call__(self, view: View, heatmaps: Heatmaps) -> Heatmaps:
        """Heat maps shared out among confusable classes."""
        ...


class RefineStep(Protocol):
    """Heat maps to labels."""

    def __call__(self, view: View, heatmaps: Heatmaps, field: Field) -> Tensor:
        """Pseudo mask (B,H,W)."""
        ...


@dataclass(frozen=True)
class Rebalancer:
    """The paper's algorithm; each step is a part, so an ablation is another part, never a switch.

    Attributes:
        first_tag: class index of the first tag: 1 with a background class, else 0.
        crf: dense CRF, used for the seeds and for the final labels.
        evidence: which tags of the image count in the crop.
        seed: step 1, classes that vanished come back.
        inter_class: step 2, USS features tell super-categories apart.
        intra_class: step 3, the network's own features tell siblings apart.
        refine: final transport, CRF and argmax.
    """

    first_tag: int
    crf: Crf
    evidence: Evidence
    seed: SeedStep
    inter_class: InterClassStep
    intra_class: IntraClassStep
    refine: RefineStep

    @torch.no_grad()
    def __call__(self, batch: Batch, output: NetworkOutput) -> Relabelled:
        """Labels for every crop of the batch; no gradient flows."""
        view = self.evidence(View.of(batch, output.detach(), first_tag=self.first_tag))
        field = self.crf.on(view.pixels, view.valid[:, 0])  # one for both inferences
        seeds = self.seed(view, field)
        heatmaps = self.inter_class(view, seeds)
        heatmaps = self.intra_class(view, heatmaps)
        return Relabelled(seeds=seeds, pseudo_mask=self.refine(view, heatmaps, field))


@dataclass(frozen=True)
class SeedOnly:
    """Step 1 alone: the network learns the seeded masks."""

    first_tag: int
    crf: Crf
    evidence: Evidence
    seed: SeedStep

    @torch.no_grad()
    def __call__(self, batch: Batch, output: NetworkOutput) -> Relabelled:
        """The seeds, twice."""
        view = self.evidence(View.of(batch, output.detach(), first_tag=self.first_tag))
        seeds = self.seed(view, self.crf.on(view.pixels, view.valid[:, 0]))
        return Relabelled(seeds=seeds, pseudo_mask=seeds)
