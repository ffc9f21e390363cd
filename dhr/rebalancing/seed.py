"""Step 1 of DHR: classes that vanished from the WSS mask come back as seeds from the CAMs (section 3.2)."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from dhr.core.labels import IGNORE
from dhr.core.numerics import resize, winner
from dhr.core.ranges import Gamma, UnitInterval
from dhr.crf.interface import Field
from dhr.rebalancing.transport import Transport
from dhr.rebalancing.view import View


class SeedStep(Protocol):
    """Step 1."""

    def __call__(self, view: View, field: Field) -> Tensor:
        """Seeded mask (B,H,W)."""
        ...


class Policy(Protocol):
    """Decides which confident pixels overwrite the WSS mask."""

    def __call__(self, confident: Tensor, given: Tensor) -> Tensor:
        """(B,M,H,W) bool confident seeds and WSS pixels of each slot -> (B,M,H,W) bool seeds to write."""
        ...


@dataclass(frozen=True)
class Overwrite:
    """Every confident pixel is written."""

    def __call__(self, confident: Tensor, given: Tensor) -> Tensor:
        """All of `confident`."""
        return confident


@dataclass(frozen=True)
class Restore:
    """Only classes that are missing or nearly missing in the WSS mask are written.

    Attributes:
        share: a class is nearly missing when its WSS pixels are fewer than this share of its confident pixels.
    """

    share: UnitInterval = 0.25

    def __call__(self, confident: Tensor, given: Tensor) -> Tensor:
        """`confident` for the missing classes, nothing for the others."""
        return confident & nearly_gone(given, confident, self.share)


def nearly_gone(found: Tensor, due: Tensor, share: float) -> Tensor:
    """(B,M,1,1) bool: slots that have fewer pixels in `found` than this share of those in `due`, (B,M,H,W) bool."""
    return found.sum((-2, -1), keepdim=True) < share * due.sum((-2, -1), keepdim=True)


@dataclass(frozen=True)
class Seeds:
    """Confident CAM pixels, decided by a CRF with a background channel, overwrite the WSS mask.

    Attributes:
        transport: f_OT; used where two or more tags take part.
        policy: which confident pixels are written.
        threshold: probability above which the winning class is confident.
        gamma: power of the background channel (1 - max of the classes) ** gamma.
    """

    transport: Transport
    policy: Policy
    threshold: UnitInterval = 0.5
    gamma: Gamma = 1.0

    def __call__(self, view: View, field: Field) -> Tensor:
        """Seeded mask (B,H,W): the WSS label where nothing is confident, never IGNORE where it was not before."""
        slots = view.slots
        marginals = self.marginals(view, field)
        winning = winner(marginals, dim=1)[:, None]
        wins = torch.zeros_like(marginals, dtype=torch.bool).scatter(1, winning, True)
        # Slot 0 is background or "none of these": it wins pixels from the tags but is no seed itself.
        wins[:, 0] = False
        confident = wins & (marginals > self.threshold) & view.valid
        written = self.policy(confident, view.shown(view.wss_mask))
        return torch.where(written.any(1), slots.to_classes(winning[:, 0]), view.wss_mask)

    def marginals(self, view: View, field: Field) -> Tensor:
        """(B,M,H,W) CRF marginals of "none of these" and the tags."""
        scores = self.tag_scores(view)
        none = (1 - scores.amax(1, keepdim=True)).clamp(0, 1) ** self.gamma
        takes_part = torch.cat([torch.ones_like(view.slots.present[:, :1]), view.slots.present[:, 1:]], 1)
        return field(torch.cat([none, scores], 1), takes_part)

    def tag_scores(self, view: View) -> Tensor:
        """(B,M-1,H,W) in [0,1]: CAMs, each divided by its maximum, transported where tags compete."""
        on = view.valid_on((view.cams.shape[-2], view.cams.shape[-1]))
        tagged = view.slots.present[:, 1:]
        cams = normalised_cams(view.cams, on, tagged)
        several = (tagged.sum(1) >= 2)[:, None, None, None]
        cams = torch.where(several, cams * self.transport(cams, on, tagged), cams)
        size = (view.pixels.shape[-2], view.pixels.shape[-1])
        # Cells off the image are 0 and no evidence: divided by, they have no part in the scores of pixels beside them.
        known = resize(on.float(), size).clamp_min(torch.finfo(torch.float32).tiny)
        return (resize(cams, size) / known).clamp(0, 1)


def normalised_cams(cams: Tensor, on: Tensor, tagged: Tensor) -> Tensor:
    """relu, cut to the cells `on`, each map divided by its maximum; maps without a positive cell stay 0."""
    positive = cams.relu() * on * tagged[:, :, None, None]
    top = positive.amax((-2, -1), keepdim=True)
    return positive / top.masked_fill(top == 0, 1.0)


@dataclass(frozen=True)
class AnswerSeeds:
    """The network's own answer among the tags; a class that it has lost keeps its place in the WSS mask.

    A network that has learnt from many masks repeats what they have in common and not the errors of each, and the
    tags forbid it to mistake one class of the data set for another.

    Attributes:
        share: a class is lost when the answer gives it fewer pixels than this share of its WSS pixels.
    """

    share: UnitInterval = 0.25

    def __call__(self, view: View, field: Field) -> Tensor:
        """Seeded mask (B,H,W); the WSS mask outside the valid box and in images whose classes are all unknown."""
        answer, given = view.answered(), view.shown(view.wss_mask)
        kept = (given & nearly_gone(view.shown(answer), given, self.share)).any(1)
        answered = view.valid[:, 0] & view.slots.present.any(1)[:, None, None] & ~kept
        return torch.where(answered, answer, view.wss_mask)


@dataclass(frozen=True)
class AgreedSeeds:
    """Pixels on which a mask and the network's answer among the tags agree; IGNORE where they do not.

    Each is wrong in other places: the mask on its own image alone, the network where many masks are wrong alike.

    Attributes:
        of: the step that makes the mask.
        share: a class of which less than this share of its pixels is agreed on keeps all of them.
    """

    of: SeedStep
    share: UnitInterval = 0.25

    def __call__(self, view: View, field: Field) -> Tensor:
        """Seeded mask (B,H,W)."""
        mask = self.of(view, field)
        given = view.shown(mask)
        agreed = given & view.shown(view.answered())
        kept = agreed | given & nearly_gone(agreed, given, self.share)
        return torch.where(kept.any(1), mask, IGNORE)


@dataclass(frozen=True)
class NoSeeds:
    """The WSS mask as it is."""

    def __call__(self, view: View, field: Field) -> Tensor:
        """(B,H,W)."""
        return view.wss_mask
