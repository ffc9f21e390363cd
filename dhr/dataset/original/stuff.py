"""COCO-Stuff as it is downloaded: the 164k release of pixel maps, or the 10k release of MATLAB files.

Caesar et al., COCO-Stuff: Thing and Stuff Classes in Context, CVPR 2018. Both number the labels from 1 to 182, 11 of
which never occur. The pixel maps hold number - 1, and 255 where nothing is labelled; the MATLAB files hold the number,
and 0 where nothing is labelled.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from dhr.core.errors import InputError
from dhr.core.labels import IGNORE
from dhr.dataset.original.interface import PICTURES, Example, Given, Roots, read_ids
from dhr.dataset.original.masks import MATS, MappedMat, MappedPng, lookup_table, source_ids
from dhr.dataset.original.splits import of_folders, refuse_shared, stems
from dhr.disk.file_names import JPEGS, MASKS, file_of

FOLDERS = {"train": "train2017", "validation": "val2017"}
LISTS = {"train": "train", "validation": "test"}
SMALL = ("", "cocostuff-10k-v1.1/")  # where the archive of the 10k release is unpacked
NUMBERS = 183  # of labels, with 0
PIXEL_MAP_UNLABELLED = 255
CURE = (
    "unpack train2017.zip, val2017.zip and stuffthingmaps_trainval2017.zip, or cocostuff-10k-v1.1.zip, and use "
    "source=<their folder>"
)


@dataclass(frozen=True, eq=False)
class StuffOriginal:
    """An opened release.

    Attributes:
        splits: train and validation.
        remarks: which release it is.
        images: folder of the pictures of each split.
        masks: folder of the masks of each split.
        lookup: label -> class index, IGNORE or UNKNOWN.
        is_small: the masks are MATLAB files.
        left_out: files that are not taken.
        names: None, there is one order of the classes.
    """

    splits: Mapping[str, np.ndarray]
    remarks: tuple[str, ...]
    images: Mapping[str, Path]
    masks: Mapping[str, Path]
    lookup: np.ndarray
    is_small: bool
    left_out: tuple[str, ...] = ()
    names: tuple[str, ...] | None = None

    def example(self, split: str, image_id: str) -> Example:
        """Files of one image; its tags are the classes in its mask."""
        folder = self.masks[split]
        mask = (
            MappedMat(file_of(folder, image_id, MATS), "S", self.lookup)
            if self.is_small
            else MappedPng(file_of(folder, image_id, MASKS), self.lookup)
        )
        return Example(image_id, file_of(self.images[split], image_id, JPEGS), mask)


@dataclass(frozen=True)
class CocoStuff:
    """COCO-Stuff 164k (COCO 2017 pictures and pixel maps) or 10k; which of them is seen from the files."""

    takes: ClassVar[frozenset[str]] = frozenset()

    def open(self, given: Given) -> StuffOriginal:
        """Opens a folder of images and annotations, or the folders that the archives unpack to.

        Raises:
            InputError: neither release is there, or both are.
        """
        source = given.source
        small = source.find(*(f"{folder}annotations" for folder in SMALL), holding="*.mat")
        large = next((folder for name in FOLDERS.values() if (folder := _maps(source, name))), None)
        if small and large:
            raise InputError(f"{source.argument}: both releases, {large} and {small}; use the folder of one of them")
        return _open_small(source, small) if small else _open_large(source)


def _maps(source: Roots, name: str) -> Path | None:
    return source.find(f"annotations/{name}", f"stuffthingmaps/{name}", name, holding="*.png")


def _open_large(source: Roots) -> StuffOriginal:
    images, masks = {}, {}
    for split, name in FOLDERS.items():
        images[split] = source.need(f"images/{name}", name, holding=PICTURES, cure=CURE)
        maps = _maps(source, name)
        if maps is None:
            raise InputError(f"{source.argument}: no folder annotations/{name} with *.png in it; {CURE}")
        masks[split] = maps
    splits = {split: stems(folder, JPEGS) for split, folder in images.items()}
    refuse_shared(images["train"].parent, splits)
    classes = {number - 1: index for index, number in enumerate(source_ids("stuff"))}
    lookup = lookup_table({**classes, PIXEL_MAP_UNLABELLED: IGNORE}, 256)
    remark = f"COCO-Stuff 164k: pixel maps of {masks['train'].parent}"
    more = of_folders(images, masks, splits)
    return StuffOriginal(splits, (remark,), images, masks, lookup, is_small=False, left_out=more)


def _open_small(source: Roots, masks: Path) -> StuffOriginal:
    cure = "unpack cocostuff-10k-v1.1.zip completely, and use source=<its folder>"
    images = source.need(*(f"{folder}images" for folder in SMALL), holding=PICTURES, cure=cure)
    lists = source.need(*(f"{folder}imageLists" for folder in SMALL), holding="*.txt", cure=cure)
    splits = {split: read_ids(lists / f"{name}.txt") for split, name in LISTS.items()}
    refuse_shared(lists, splits)
    classes = {number: index for index, number in enumerate(source_ids("stuff"))}
    lookup = lookup_table({**classes, 0: IGNORE}, NUMBERS)
    remark = f"COCO-Stuff 10k: MATLAB files of {masks}; validation is its test list"
    pictures, mats = dict.fromkeys(splits, images), dict.fromkeys(splits, masks)
    more = of_folders(pictures, mats, splits, MATS)
    return StuffOriginal(splits, (remark,), pictures, mats, lookup, is_small=True, left_out=more)
