"""DHR in one place (Jo et al., ECCV 2024, section 3): from a crop and what the network says of it to its labels."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from dhr.core.sample import Batch, NetworkOutput
from dhr.crf.interface import Crf, Field
from dhr.rebalancing.inter_class import Heatmaps
from dhr.rebalancing.seed import SeedStep
from dhr.rebalancing.view import TagEvidence, View


@dataclass(frozen=True)
class Relabelled:
    """The labels of a batch, and the `view` that they were made from.

    Two masks (B,H,W) int64 of class indices and IGNORE: `seeds` after step 1, and what the network is to learn.
    """

    view: View
    seeds: Tensor
    pseudo_mask: Tensor


class InterClassStep(Protocol):
    """Step 2: makes one heat map per class from the seeded mask and the USS features."""

    def __call__(self, view: View, seeds: Tensor) -> Heatmaps:
        """Heat maps of the classes in the seeded mask (B,H,W)."""
        ...


class IntraClassStep(Protocol):
    """Step 3: tells apart the classes that step 2 cannot, by the network's own features."""

    def __call__(self, view: View, heatmaps: Heatmaps) -> Heatmaps:
        """Heat maps of the same shape; those of confusable classes are shared out among them."""
        ...


class RefineStep(Protocol):
    """The end: turns heat maps into labels."""

    def __call__(self, view: View, heatmaps: Heatmaps, field: Field) -> Tensor:
        """Pseudo mask (B,H,W) int64: class indices inside the valid box, IGNORE elsewhere."""
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

    A crop of 2x4 pixels shows background and the classes 1 and 2, which the USS features do not tell apart. Its WSS
    mask has lost class 2; the CAMs know where it is:

    >>> from dhr.crf.none import NoCrf
    >>> from dhr.rebalancing import inter_class, intra_class, prototypes, refine, seed, transport, view
    >>> rebalancer = Rebalancer(
    ...     first_tag=1,
    ...     crf=NoCrf(),
    ...     evidence=view.CropEvidence(),
    ...     seed=seed.Seeds(transport.Transport(), seed.Restore()),
    ...     inter_class=inter_class.InterClass(prototypes.PureShares(), prototypes.MeanDirection()),
    ...     intra_class=intra_class.IntraClass(intra_class.ConnectedGroups(tau=0.8), transport.Transport()),
    ...     refine=refine.Refine(refine.NoFinalTransport()),
    ... )
    >>> own = torch.eye(3)[[0, 0, 1, 2]].T[None, :, None]  # (1,3,1,4), a map for each class
    >>> uss = torch.cat([own[:, :1], own[:, 1:2] + own[:, 2:]], 1)  # (1,2,1,4), the same for the classes 1 and 2
    >>> batch = Batch(
    ...     ids=("crop",),
    ...     pixels=torch.zeros(1, 3, 2, 4, dtype=torch.uint8),
    ...     tags=torch.ones(1, 2),
    ...     wss_mask=torch.tensor([[[0, 0, 1, 1], [0, 0, 1, 1]]], dtype=torch.uint8),
    ...     boxes=torch.tensor([[0, 0, 2, 4]]),
    ...     most_tags=2,
    ...     whole=torch.tensor([True]),
    ...     uss_features=uss,
    ... )
    >>> result = rebalancer(batch, NetworkOutput(logits=9 * own, cams=8 * own[:, 1:] - 4, features=(own, own)))
    >>> result.seeds[0]
    tensor([[0, 0, 1, 2],
            [0, 0, 1, 2]])
    >>> result.pseudo_mask[0]
    tensor([[0, 0, 1, 2],
            [0, 0, 1, 2]])
    """

    first_tag: int
    crf: Crf
    evidence: TagEvidence
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
        return Relabelled(view, seeds=seeds, pseudo_mask=self.refine(view, heatmaps, field))


@dataclass(frozen=True)
class SeedOnly:
    """Step 1 alone: the network learns the seeded masks. The attributes are those of `Rebalancer`."""

    first_tag: int
    crf: Crf
    evidence: TagEvidence
    seed: SeedStep

    @torch.no_grad()
    def __call__(self, batch: Batch, output: NetworkOutput) -> Relabelled:
        """The seeded mask of every crop, as `seeds` and as `pseudo_mask`; no gradient flows."""
        view = self.evidence(View.of(batch, output.detach(), first_tag=self.first_tag))
        seeds = self.seed(view, self.crf.on(view.pixels, view.valid[:, 0]))
        return Relabelled(view, seeds=seeds, pseudo_mask=seeds)
