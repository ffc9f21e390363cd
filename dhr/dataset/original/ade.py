"""ADE20K as it is downloaded for the SceneParse150 challenge of 2016.

Zhou et al., Scene Parsing through ADE20K Dataset, CVPR 2017. A mask holds 1 to 150, and 0 where another of the 3,000
classes of the full data set is: those pixels are ignored.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image

from dhr.core.errors import InputError
from dhr.core.labels import IGNORE
from dhr.dataset.classes import load_classes
from dhr.dataset.original.interface import PICTURES, Example, Given, Roots
from dhr.dataset.original.masks import MappedPng, lookup_table
from dhr.dataset.original.splits import of_folders, stems
from dhr.disk.file_names import JPEGS, MASKS, file_of, names_in
from dhr.disk.reading import BROKEN

SPLITS = {"train": "training", "validation": "validation"}
RELEASE = "ADEChallengeData2016"
CURE = f"unpack {RELEASE}.zip of the SceneParse150 challenge and use source=<its folder>"
FULL = ("index_ade20k.mat", "index_ade20k.pkl", "images/ADE", "ADE20K_2021_17_01", "ADE20K_2016_07_26")


@dataclass(frozen=True, eq=False)
class AdeOriginal:
    """An opened challenge release.

    Attributes:
        splits: train and validation, or the one that is there.
        remarks: which split is missing.
        images: folder of the pictures of each split.
        masks: folder of the masks of each split.
        lookup: (256) label -> class index, IGNORE or UNKNOWN.
        left_out: files that are not taken.
        names: None, there is one order of the classes.
    """

    splits: Mapping[str, np.ndarray]
    remarks: tuple[str, ...]
    images: Mapping[str, Path]
    masks: Mapping[str, Path]
    lookup: np.ndarray
    left_out: tuple[str, ...] = ()
    names: tuple[str, ...] | None = None

    def example(self, split: str, image_id: str) -> Example:
        """Files of one image; its tags are the classes in its mask."""
        mask = MappedPng(file_of(self.masks[split], image_id, MASKS), self.lookup)
        return Example(image_id, file_of(self.images[split], image_id, JPEGS), mask)


@dataclass(frozen=True)
class Ade2016:
    """The archive ADEChallengeData2016; the full ADE20K, which has other classes, is refused."""

    takes: ClassVar[frozenset[str]] = frozenset()

    def open(self, given: Given) -> AdeOriginal:
        """Opens a folder ADEChallengeData2016, or one that holds it.

        Raises:
            InputError: neither of the two splits is there, a split has pictures only, or it is the full data set.
        """
        images = {split: folder for split in SPLITS if (folder := _folder(given.source, "images", split, PICTURES))}
        if not images:
            raise _absent(given.source)
        masks = {split: _masks(given.source, split) for split in images}
        classes = {label: label - 1 for label in range(1, load_classes("ade").num_classes + 1)}
        missing = [
            f"{split} is not there: no {RELEASE}/images/{SPLITS[split]}" for split in SPLITS if split not in images
        ]
        splits = {split: stems(folder, JPEGS) for split, folder in images.items()}
        return AdeOriginal(
            splits=splits,
            remarks=tuple(missing),
            images=images,
            masks=masks,
            lookup=lookup_table({**classes, 0: IGNORE}, 256),
            left_out=of_folders(images, masks, splits),
        )


def _folder(source: Roots, kind: str, split: str, holding: str) -> Path | None:
    name = f"{kind}/{SPLITS[split]}"
    return source.find(f"{RELEASE}/{name}", name, holding=holding)


def _masks(source: Roots, split: str) -> Path:
    """Folder of the masks of a split; the mode of the first of them is checked."""
    folder = _folder(source, "annotations", split, "*.png")
    if folder is None:
        raise InputError(f"{source.argument}: no folder annotations/{SPLITS[split]} with *.png in it; {CURE}")
    mask = folder / min(names_in(folder, MASKS))
    try:
        with Image.open(mask) as picture:
            mode = picture.mode
    except BROKEN as error:
        raise InputError(f"{mask}: unreadable mask ({error}); fetch this file again") from None
    if mode not in ("L", "P"):
        raise InputError(f"{mask}: mode {mode}: this is a mask of the full ADE20K; {CURE}")
    return folder


def _absent(source: Roots) -> InputError:
    """An error that tells the full ADE20K, where the folder holds it, from a missing download."""
    for root in source.folders:
        marks = [root / mark for mark in FULL if (root / mark).exists()]
        if marks or (marks := [*root.glob("images/training/*/*/*_seg.png")][:1]):
            return InputError(f"{source.argument}: {marks[0]}: this is the full ADE20K, with other classes; {CURE}")
    return InputError(f"{source.argument}: no folder {RELEASE}/images/validation with *.jpg in it; {CURE}")
