"""In which of two orders the PNG masks of PASCAL Context number their 59 classes.

Two converters are in use, and their files do not say which of them made them. So the labels are compared with what
else is known about the same images; without clear evidence nothing is assumed.
"""

from collections.abc import Callable, Mapping, Sequence
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

Votes = tuple[bool, ...]  # whether an image fits each of ORDERS


@dataclass(frozen=True)
class Evidence:
    """What speaks for an order.

    Attributes:
        witness: what the masks were compared with.
        votes: per examined image, whether it fits each of ORDERS.
    """

    witness: str
    votes: Sequence[Votes]

    @property
    def order(self) -> str | None:
        """The one order that nearly all images fit, None where that is not clear."""
        decisive = [votes for votes in self.votes if votes[0] != votes[1]]
        for place, order in enumerate(ORDERS):
            clear = sum(votes[place] for votes in decisive) >= CLEAR * len(decisive)
            fitting = sum(votes[place] for votes in self.votes) >= FITTING * len(self.votes)
            if len(decisive) >= DECISIVE and clear and fitting:
                return order
        return None

    def __str__(self) -> str:
        counts = (sum(votes[place] for votes in self.votes) for place in range(len(ORDERS)))
        fits = ", ".join(f"{count} fit {order}" for count, order in zip(counts, ORDERS, strict=True))
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
        stated: the order that the user states.

    Raises:
        InputError: `stated` is none of ORDERS or is contradicted, or it is None and the evidence is not clear.
    """
    if stated is not None and stated not in ORDERS:
        raise InputError(f"class_order: {stated}: no such order; {CHOICE}")
    evidence = _examine(folder, ids, lookups, mats, annotations)
    if stated is None and evidence.order is None:
        raise InputError(f"{folder}: the order of the classes is not clear: {evidence}; {CHOICE}")
    if stated is not None and evidence.order not in (None, stated):
        raise InputError(f"class_order: {stated}: not the order of {folder}: {evidence}; leave class_order= out")
    return stated or str(evidence.order), f"as class_order= says; {evidence}" if stated else str(evidence)


def _examine(
    folder: Path,
    ids: Sequence[str],
    lookups: Mapping[str, np.ndarray],
    mats: Mapping[str, MappedMat],
    annotations: Path,
) -> Evidence:
    def vote(image_id: str, fits: Callable[[np.ndarray], bool]) -> Votes:
        file = file_of(folder, image_id, MASKS)
        labels = read_mask(file)
        return tuple(fits(looked_up(labels, lookups[order], file)) for order in ORDERS)

    known = [image_id for image_id in ids if image_id in mats]
    if known:
        return Evidence(
            "original .mat files", [vote(image_id, _like(mats[image_id].read())) for image_id in _spread(known)]
        )
    known = [image_id for image_id in ids if (annotations / f"{image_id}.xml").is_file()]
    return Evidence(
        f"objects in {annotations}",
        [vote(image_id, _showing(annotations / f"{image_id}.xml")) for image_id in _spread(known)],
    )


def _spread(ids: Sequence[str]) -> Sequence[str]:
    return ids[:: -(-len(ids) // EXAMINED) or 1]


def _like(truth: np.ndarray) -> Callable[[np.ndarray], bool]:
    """Whether a mask has the same classes on nearly all pixels that both label."""

    def fits(mask: np.ndarray) -> bool:
        if mask.shape != truth.shape:
            return False
        both = (mask != IGNORE) & (truth != IGNORE)
        return bool(both.any() and (mask == truth)[both].mean() >= SAME_PIXELS)

    return fits


def _showing(annotation: Path) -> Callable[[np.ndarray], bool]:
    """Whether a mask holds all classes that VOC's annotation names."""
    voc, context = load_classes("voc"), load_classes("context")
    objects = read_tags(annotation, voc.names[voc.first_tag :])
    classes = [context.names.index(context.aliases.get(name, name)) for name in objects]
    return lambda mask: bool(np.isin(classes, mask).all())
