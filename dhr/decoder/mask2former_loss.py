"""The loss of Mask2Former: queries matched to classes, masks compared at points, pixels without a label left out."""

from dataclasses import dataclass
from typing import Annotated, Self

import numpy as np
import torch
from annotated_types import Ge, Le
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional

from dhr.core.labels import IGNORE
from dhr.core.ranges import Count, UnitInterval, Weight
from dhr.core.sample import Queries
from dhr.runtime.ranks import mean_over_ranks


@dataclass(frozen=True)
class Targets:
    """The classes of each image as binary masks; M is the largest number of classes that an image has, at least 1.

    Attributes:
        classes: (B,M) int64 in rising order, 0 where there is none.
        present: (B,M) bool, false where an image has fewer classes.
        masks: (B,M,H,W) float, `known` on the class, else 0.
        known: (B,1,H,W) float, 0 on IGNORE, else the weight of the label.
    """

    classes: Tensor
    present: Tensor
    masks: Tensor
    known: Tensor

    @classmethod
    def of(cls, labels: Tensor, weights: Tensor | None = None) -> Self:
        """From (B,H,W) integer labels, of which IGNORE is no class, and their weights, 1 without any."""
        labels = labels.long()
        seen = torch.zeros(len(labels), IGNORE + 1, dtype=torch.uint8, device=labels.device)
        seen.scatter_(1, labels.flatten(1), 1)
        seen[:, IGNORE] = 0
        slots = max(int(seen.sum(1).max()), 1)
        present, classes = (values[:, :slots] for values in seen.sort(dim=1, descending=True, stable=True))
        masks = (labels[:, None] == classes[..., None, None]) & (present[..., None, None] > 0)
        known = (labels[:, None] != IGNORE).float()
        if weights is None:
            return cls(classes * present, present > 0, masks.float(), known)
        return cls(classes * present, present > 0, masks * weights[:, None], known * weights[:, None])

    def at(self, pairs: "Pairs") -> tuple[Tensor, Tensor]:
        """(N,1,H,W) masks of the matched classes, and which of their pixels are known."""
        return self.masks[pairs.images, pairs.slots][:, None], self.known[pairs.images]


@dataclass(frozen=True)
class Pairs:
    """Matched queries and classes: (N) int64 positions of image, query and class slot."""

    images: Tensor
    queries: Tensor
    slots: Tensor


@dataclass(frozen=True)
class MaskLoss:
    """Class, mask and dice loss of queries that are matched one to one with the classes of their image.

    Masked-attention Mask Transformer for Universal Image Segmentation (Cheng et al., CVPR 2022), sections 3.2 and 3.3.
    Points on IGNORE have no weight, in the matching cost and in the losses; near it, only the known pixels that a
    point lies between count. So a pixel without a label is no negative of any class. Where every pixel is known, this
    is the published loss; over several processes both its means are those over all their images. An image without a
    known pixel teaches nothing, a batch of such images gives 0.

    Attributes:
        class_weight: of the class loss, and of its part of the matching cost.
        mask_weight: of the binary cross entropy.
        dice_weight: of the dice loss.
        no_object: weight of queries without a class in the class loss.
        points: per mask.
        oversample: points drawn for each of `points`, of which the most uncertain ones are kept.
        importance: share of `points` that is chosen so; the others are anywhere.
    """

    class_weight: Weight = 2.0
    mask_weight: Weight = 5.0
    dice_weight: Weight = 5.0
    no_object: UnitInterval = 0.1
    points: Count = 12544
    oversample: Annotated[float, Ge(1), Le(100)] = 3.0
    importance: UnitInterval = 0.75

    def __call__(self, layers: tuple[Queries, ...], labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """Sum over the layers, in float32 whatever the precision of the network.

        Args:
            layers: queries of the same images after each layer.
            labels: (B,H,W) integers, at any resolution.
            weights: (B,H,W) of the labels in [0,1]: a label of weight 0 is an IGNORE, but its class is still one of
                the image. None: 1 everywhere.
        """
        with torch.autocast(labels.device.type, enabled=False):
            targets = Targets.of(labels, weights)
            count = mean_over_ranks(targets.present.sum()).clamp_min(1)
            losses = []
            for layer in layers:
                queries = Queries(layer.classes.float(), layer.masks)
                pairs = assign(self.costs(queries, targets), targets.present)
                entropy, dice = self._mask_losses(queries, targets, pairs)
                masks = self.mask_weight * entropy + self.dice_weight * dice
                losses.append(self.class_weight * self._class_loss(queries, targets, pairs) + masks / count)
            return torch.stack(losses).sum()

    @torch.no_grad()
    def costs(self, queries: Queries, targets: Targets) -> Tensor:
        """(B,Q,M) how badly each query fits each class of its image, at points that all of them share."""
        points = torch.rand(len(queries.masks), self.points, 2, device=queries.masks.device)
        logits = at_points(queries.masks.float(), points)
        truth, weight = labels_at(targets.masks, targets.known, points)
        share = weight / weight.sum(-1, keepdim=True).clamp_min(1)
        entropy = (functional.softplus(-logits) * share) @ truth.mT + (functional.softplus(logits) * share) @ (
            1 - truth
        ).mT
        inside = logits.sigmoid() * weight
        areas = inside.sum(-1)[:, :, None] + (truth * weight).sum(-1)[:, None]
        dice = 1 - (2 * inside @ truth.mT + 1) / (areas + 1)
        wanted = targets.classes[:, None].expand(-1, logits.shape[1], -1)
        likely = queries.classes.softmax(-1).gather(2, wanted)
        return self.mask_weight * entropy + self.dice_weight * dice - self.class_weight * likely

    def _class_loss(self, queries: Queries, targets: Targets, pairs: Pairs) -> Tensor:
        """Weighted cross entropy; queries without a class learn "no object", images without a label have no weight."""
        images, count, classes = queries.classes.shape
        wanted = torch.full((images, count), classes - 1, device=queries.classes.device)
        wanted[pairs.images, pairs.queries] = targets.classes[pairs.images, pairs.slots]
        weights = queries.classes.new_ones(classes)
        weights[-1] = self.no_object
        share = targets.present.any(1)[:, None] * weights[wanted]
        entropy = functional.cross_entropy(queries.classes.mT, wanted, reduction="none")
        return (entropy * share).sum() / mean_over_ranks(share.sum()).clamp_min(torch.finfo(share.dtype).tiny)

    def _mask_losses(self, queries: Queries, targets: Targets, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """Binary cross entropy and dice loss, each summed over the pairs; 0, and differentiable, without a pair."""
        masks = queries.masks[pairs.images, pairs.queries][:, None].float()
        target, known = targets.at(pairs)
        points = self._uncertain(masks.detach(), known)
        truth, weight = labels_at(target, known, points)
        logits = at_points(masks, points)
        entropy = functional.binary_cross_entropy_with_logits(logits, truth, weight, reduction="none").sum(-1)
        inside = logits.sigmoid() * weight
        areas = inside.sum(-1) + (truth * weight).sum(-1)
        dice = 1 - (2 * (inside * truth).sum(-1) + 1) / (areas + 1)
        return (entropy / weight.sum(-1).clamp_min(1)).sum(), dice.sum()

    def _uncertain(self, masks: Tensor, known: Tensor) -> Tensor:
        """(N,P,2) points, most of them where the logits (N,1,h,w) are near 0 and a label is known."""
        pairs, chosen = len(masks), int(self.importance * self.points)
        drawn = torch.rand(pairs, int(self.points * self.oversample), 2, device=masks.device)
        certainty = at_points(masks, drawn)[:, 0].abs()
        certainty = certainty.masked_fill(at_points(known, drawn, padding="border")[:, 0] == 0, torch.inf)
        best = certainty.topk(chosen, dim=1, largest=False).indices
        anywhere = torch.rand(pairs, self.points - chosen, 2, device=masks.device)
        return torch.cat([drawn.gather(1, best[..., None].expand(-1, -1, 2)), anywhere], 1)


def at_points(values: Tensor, points: Tensor, *, padding: str = "zeros") -> Tensor:
    """Bilinear values of (N,C,h,w) at (N,P,2) points x, y in [0,1], as (N,C,P)."""
    grid = 2 * points[:, None] - 1
    return functional.grid_sample(values, grid, padding_mode=padding, align_corners=False)[:, :, 0]


def labels_at(masks: Tensor, known: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Values of (N,C,H,W) masks at (N,P,2) points, and their weights.

    Returns:
        (N,C,P) in [0,1], interpolated between the known pixels alone, 0 where there is none; and (N,1,P), the share of
        known pixels among those that a point lies between. The border of the image is as in the published code, where
        masks fade out over half a pixel.
    """
    weight = at_points(known, points, padding="border")
    truth = at_points(masks, points) / weight.clamp_min(torch.finfo(weight.dtype).eps)
    return truth.clamp_max(1), weight


def assign(costs: Tensor, present: Tensor) -> Pairs:
    """The cheapest one-to-one matching of queries with the classes that are present.

    Args:
        costs: (B,Q,M); those that are not finite count as the highest, so that the matching does not fail and the loss
            itself shows that the training diverged.
        present: (B,M) bool.
    """
    highest = torch.finfo(costs.dtype).max
    table = costs.nan_to_num(nan=highest, posinf=highest, neginf=highest).cpu().numpy()
    pairs = []
    for image, (cost, occupied) in enumerate(zip(table, present.cpu().numpy(), strict=True)):
        queries, slots = linear_sum_assignment(cost[:, occupied])  # present slots come first
        pairs.append(np.stack([np.full_like(queries, image), queries, slots]))
    images, queries, slots = torch.from_numpy(np.concatenate(pairs, axis=1)).to(costs.device)
    return Pairs(images, queries, slots)
