"""In which of two orders the PNG masks of PASCAL Context number their 59 classes.

Two converters are in use, and their files do not say which of them made them. So the labels are compared with what
else is known about the same images; without clear evidence nothing is assumed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dhr.core.errors import InputError
from dhr.core.labels import IGNORE
from dhr.dataset.classes import load_classes
from dhr.dataset.original.masks import MappedMat, looked_up
from dhr.disk.annotation import read_tags
from dhr.disk.file_names import MASKS, file_of
from dhr.disk.mask import read_mask

ORDERS = ("by_459_id", "voc_first")
CHOICE = f"use class_order={ORDERS[0]} (alphabetical) or class_order={ORDERS[1]} (the 20 classes of VOC first)"
EXAMINED = 200  # images at most, evenly spread
DECISIVE = 3  # images that fit one order only, at least
CLEAR = 0.9  # of these, share that has to fit the same order
FITTING = 0.7  # of all examined images, share that has to fit it: else the labels are of a third kind
SAME_PIXELS = 0.95  # of the labelled pixels: converters differ in a few


@dataclass(frozen=True, eq=False)
class OrderEvidence:
    """What speaks for an order.

    Attributes:
        witness: what the masks were compared with.
        votes: (M,2) bool, whether each examined image fits each of ORDERS.
    """

    witness: str
    votes: np.ndarray

    @property
    def order(self) -> str | None:
        """The one order that nearly all images fit, None where that is not clear."""
        decisive = self.votes[self.votes[:, 0] != self.votes[:, 1]]
        clear = decisive.sum(0) >= CLEAR * len(decisive)
        fitting = self.votes.sum(0) >= FITTING * len(self.votes)
        orders = [order for order, fits in zip(ORDERS, clear & fitting, strict=True) if fits]
        return orders[0] if len(decisive) >= DECISIVE and orders else None

    def __str__(self) -> str:
        fits = ", ".join(f"{count} fit {order}" for count, order in zip(self.votes.sum(0), ORDERS, strict=True))
        return f"of {len(self.votes)} masks compared with {self.witness} {fits}"


def order_of(
    folder: Path, ids: Sequence[str], lookups: Mapping[str, np.ndarray], *, mats: Mapping[str, MappedMat],
    annotations: Path, stated: str | None,
) -> tuple[str, str]:  # fmt: skip
    """The order of a folder of PNGs, and how it is known.

    Args:
        folder: PNG masks.
        ids: ids that have one.
        lookups: for each of ORDERS, label -> class index.
        mats: original masks of some of the ids; compared with where there are any.
        annotations: folder of VOC's XML files; compared with elsewhere.
        stated: the order that the user states, one of ORDERS, or None.

    Raises:
        InputError: `stated` is contradicted, or it is None and the evidence is not clear.
    """
    candidates = [image_id for image_id in ids if image_id in mats]
    witness = "original .mat files" if candidates else f"objects in {annotations}"
    candidates = candidates or [image_id for image_id in ids if (annotations / f"{image_id}.xml").is_file()]
    votes = []
    for image_id in candidates[:: -(-len(candidates) // EXAMINED) or 1]:
        file = file_of(folder, image_id, MASKS)
        labels = read_mask(file)
        masks = [looked_up(labels, lookups[order], file) for order in ORDERS]
        votes.append(
            _alike(masks, mats[image_id].read())
            if image_id in mats
            else _showing(masks, annotations / f"{image_id}.xml")
        )
    evidence = OrderEvidence(witness, np.array(votes, bool).reshape(-1, len(ORDERS)))
    if stated is None and evidence.order is None:
        raise InputError(f"{folder}: the order of the classes is not clear: {evidence}; {CHOICE}")
    if stated is not None and evidence.order not in (None, stated):
        raise InputError(f"class_order: {stated}: not the order of {folder}: {evidence}; leave class_order= out")
    return stated or str(evidence.order), f"as class_order= says; {evidence}" if stated else str(evidence)


def _alike(masks: Sequence[np.ndarray], truth: np.ndarray) -> list[bool]:
    """Whether each mask agrees with the truth on nearly all pixels that both label."""
    if masks[0].shape != truth.shape:
        return [False] * len(masks)
    labelled = [(mask != IGNORE) & (truth != IGNORE) for mask in masks]
    pairs = zip(masks, labelled, strict=True)
    return [bool(pixels.any() and (mask == truth)[pixels].mean() >= SAME_PIXELS) for mask, pixels in pairs]


def _showing(masks: Sequence[np.ndarray], annotation: Path) -> list[bool]:
    """Whether each mask holds all classes that VOC's annotation names."""
    voc, context = load_classes("voc"), load_classes("context")
    objects = read_tags(annotation, voc.names[voc.first_tag :])
    classes = [context.names.index(context.aliases.get(name, name)) for name in objects]
    return [bool(np.isin(classes, mask).all()) for mask in masks]
