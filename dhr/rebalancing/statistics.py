"""What relabelling did to the WSS masks, in four numbers an image: for curves, nothing is learnt from them."""

from dataclasses import astuple, dataclass, fields

import torch
from torch import Tensor

from dhr.core.labels import IGNORE
from dhr.rebalancing.rebalancer import Relabelled
from dhr.rebalancing.released import ReleasedSeeds
from dhr.rebalancing.seed import AgreedSeeds, Seeds, SeedStep, competing
from dhr.rebalancing.view import View


@dataclass(frozen=True)
class LabelStatistics:
    """Four numbers about each image, (B) each.

    Attributes:
        seeded: share of the pixels in the valid box to which step 1 gave another class than the WSS mask has there.
        restored: how many tagged classes have no pixel in the WSS mask of the crop, and some in the pseudo mask.
        disagreement: share of the pixels in the valid box where WSS mask and pseudo mask name two different classes.
        residual: of the transport in step 1, see `transport_residual`.
    """

    seeded: Tensor
    restored: Tensor
    disagreement: Tensor
    residual: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, labels: Relabelled, seed: SeedStep) -> "LabelStatistics":
        """The statistics of labels that were made with `seed` as step 1; no network is asked again."""
        view, given, pseudo_mask = labels.view, labels.view.wss_mask, labels.pseudo_mask
        had, has = (view.shown(mask).any(-1).any(-1)[:, 1:] for mask in (given, pseudo_mask))
        both = (given != IGNORE) & (pseudo_mask != IGNORE)
        return cls(
            seeded=_share((labels.seeds != given) & (labels.seeds != IGNORE), view),
            restored=(has & ~had).sum(1).float(),
            disagreement=_share((pseudo_mask != given) & both, view),
            residual=transport_residual(view, seed),
        )

    def stacked(self) -> Tensor:
        """(4,B), in the order of `STATISTICS`."""
        return torch.stack(astuple(self))


STATISTICS = tuple(field.name for field in fields(LabelStatistics))


def transport_residual(view: View, seed: SeedStep) -> Tensor:
    """(B): `Transport.residual` among the tags in step 1; NaN where it transports nothing, as for a single tag."""
    match seed:
        case Seeds(transport=transport) | ReleasedSeeds(transport=transport):
            cams, on, tagged = competing(view)
            return transport.residual(cams, on, tagged).masked_fill(tagged.sum(1) < 2, torch.nan)
        case AgreedSeeds(of=inner):
            return transport_residual(view, inner)
        case _:
            return view.cams.new_full((len(view.cams),), torch.nan)


def _share(pixels: Tensor, view: View) -> Tensor:
    """(B) in [0,1]: share of the valid box that `pixels` (B,H,W) cover; 0 for an empty box."""
    valid = view.valid[:, 0]
    return (pixels & valid).sum((-2, -1)) / valid.sum((-2, -1)).clamp_min(1)
