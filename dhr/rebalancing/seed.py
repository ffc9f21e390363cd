"""Step 1 of DHR: classes that vanished from the WSS mask come back as seeds from the CAMs (section 3.2)."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from dhr.core.labels import IGNORE
from dhr.core.numerics import fast_argmax, resize
from dhr.core.ranges import Gamma, UnitInterval
from dhr.crf.interface import Field
from dhr.rebalancing.transport import Transport
from dhr.rebalancing.view import View


class SeedStep(Protocol):
    """Step 1: makes the mask from which the later steps compute the prototypes of the classes."""

    def __call__(self, view: View, field: Field) -> Tensor:
        """Seeded mask (B,H,W) int64 of class indices and IGNORE, from a view and the CRF's field of the same batch."""
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
        """Returns `confident`; `given` is not read."""
        return confident


@dataclass(frozen=True)
class Restore:
    """Only classes that are missing or nearly missing in the WSS mask are written.

    Attributes:
        share: a class is nearly missing when its WSS pixels are fewer than this share of its confident pixels.

    >>> confident = torch.tensor([[[[1, 1, 0, 0]], [[0, 0, 1, 1]]]]) > 0  # two classes, four pixels
    >>> given = torch.tensor([[[[0, 1, 0, 0]], [[0, 0, 0, 0]]]]) > 0
    >>> Restore()(confident, given).int().tolist()  # the first class has half of its pixels, the second none
    [[[[0, 0, 0, 0]], [[0, 0, 1, 1]]]]
    """

    share: UnitInterval = 0.25

    def __call__(self, confident: Tensor, given: Tensor) -> Tensor:
        """`confident` for the missing classes, nothing for the others."""
        return confident & nearly_gone(given, confident, self.share)


def nearly_gone(found: Tensor, due: Tensor, share: float) -> Tensor:
    """Which classes have fewer pixels in `found` than `share` of their pixels in `due`.

    Args:
        found: (B,M,H,W) bool.
        due: (B,M,H,W) bool.
        share: in [0,1].

    Returns:
        (B,M,1,1) bool; false for a class without a pixel in `due`.

    >>> due = torch.ones(1, 3, 1, 4) > 0
    >>> found = torch.tensor([[[[1, 1, 0, 0]], [[1, 0, 0, 0]], [[0, 0, 0, 0]]]]) > 0
    >>> nearly_gone(found, due, 0.5).flatten().tolist()  # two of four pixels are no less than half of them
    [False, True, True]
    """
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
        winning = fast_argmax(marginals, dim=1)[:, None]
        wins = torch.zeros_like(marginals, dtype=torch.bool).scatter(1, winning, True)
        # Slot 0 is background or "none of these": it wins pixels from the tags but is no seed itself.
        wins[:, 0] = False
        confident = wins & (marginals > self.threshold) & view.valid
        written = self.policy(confident, view.shown(view.wss_mask))
        return torch.where(written.any(1), slots.to_classes(winning[:, 0]), view.wss_mask)

    def marginals(self, view: View, field: Field) -> Tensor:
        """CRF marginals (B,M,H,W): slot 0 is "none of these", the others are the tags."""
        scores = self.tag_scores(view)
        none = (1 - scores.amax(1, keepdim=True)).clamp(0, 1) ** self.gamma
        takes_part = torch.cat([torch.ones_like(view.slots.present[:, :1]), view.slots.present[:, 1:]], 1)
        return field(torch.cat([none, scores], 1), takes_part)

    def tag_scores(self, view: View) -> Tensor:
        """(B,M-1,H,W) in [0,1]: CAMs, each divided by its maximum, transported where tags compete."""
        cams, on, tagged = competing(view)
        several = (tagged.sum(1) >= 2)[:, None, None, None]
        cams = torch.where(several, cams * self.transport(cams, on, tagged), cams)
        size = (view.pixels.shape[-2], view.pixels.shape[-1])
        # Cells off the image are 0, but that is no evidence. The division takes them out of the pixels beside them.
        known = resize(on.float(), size).clamp_min(torch.finfo(torch.float32).tiny)
        return (resize(cams, size) / known).clamp(0, 1)


def competing(view: View) -> tuple[Tensor, Tensor, Tensor]:
    """What step 1 transports: CAMs (B,T,h,w) divided by their maxima, cells (B,1,h,w) with image, tags (B,T) bool."""
    on = view.valid_on((view.cams.shape[-2], view.cams.shape[-1]))
    tagged = view.slots.present[:, 1:]
    return normalised_cams(view.cams, on, tagged), on, tagged


def normalised_cams(cams: Tensor, on: Tensor, tagged: Tensor) -> Tensor:
    """Negative scores and cells off `on` become 0, then each map is divided by its maximum.

    Args:
        cams: (B,T,h,w) signed scores.
        on: (B,1,h,w) bool, cells that touch image.
        tagged: (B,T) bool; the maps of other tags become 0.

    Returns:
        (B,T,h,w) in [0,1]; a map without a positive cell stays 0.

    >>> cams = torch.tensor([[[[2.0, 1.0, -1.0, 8.0]], [[-1.0, -2.0, -3.0, 4.0]]]])
    >>> normalised_cams(cams, torch.tensor([[[[1, 1, 1, 0]]]]), torch.ones(1, 2) > 0).tolist()
    [[[[1.0, 0.5, 0.0, 0.0]], [[0.0, 0.0, 0.0, 0.0]]]]
    """
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
        share: a class keeps all its pixels of the mask where less than this share of them is agreed on.
    """

    of: SeedStep
    share: UnitInterval = 0.25

    def __call__(self, view: View, field: Field) -> Tensor:
        """Seeded mask (B,H,W): the mask where the two agree or its class keeps all pixels, IGNORE elsewhere."""
        mask = self.of(view, field)
        given = view.shown(mask)
        agreed = given & view.shown(view.answered())
        kept = agreed | given & nearly_gone(agreed, given, self.share)
        return torch.where(kept.any(1), mask, IGNORE)


@dataclass(frozen=True)
class NoSeeds:
    """The WSS mask as it is."""

    def __call__(self, view: View, field: Field) -> Tensor:
        """The WSS mask (B,H,W) of `view`; `field` is not read."""
        return view.wss_mask
