"""PASCAL VOC 2012, with the masks of SBD, as it is downloaded.

Everingham et al., The PASCAL Visual Object Classes Challenge 2012; Hariharan et al., Semantic Contours from Inverse
Detectors, ICCV 2011. The masks of SBD come as MATLAB files, or as a folder `SegmentationClassAug` of 12,031 PNGs: those
of the 10,582 ids of `train_aug` and of the 1,449 of `val`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from dhr.core.errors import InputError
from dhr.dataset.classes import load_classes
from dhr.dataset.original.interface import Example, Given, MaskSource, Roots, read_ids
from dhr.dataset.original.masks import MATS, IndexPng, MappedMat, lookup_table
from dhr.dataset.original.splits import left_out, refuse_shared, stems
from dhr.disk.file_names import JPEGS, MASKS, file_of

FOLDERS = ("VOCdevkit/VOC2012", "VOC2012", ".")
LISTS = "ImageSets/Segmentation"
AUGMENTED = "SegmentationClassAug"
SBD = ("benchmark_RELEASE/dataset", "dataset", ".")
SBD_MASKS = "cls/*.mat"


@dataclass(frozen=True, eq=False)
class VocOriginal:
    """An opened VOC 2012.

    Attributes:
        splits: train_aug, train, validation, and test where its pictures are there.
        remarks: what train_aug is made of.
        voc: folder VOC2012 of the trainval archive.
        test: folder VOC2012 of the test archive, None without test.
        augmented: folder of augmented PNGs, None where there is none or SBD is used.
        sbd: folder with cls/, None where SBD is not used.
        lookup: labels of SBD's masks -> class index.
        left_out: augmented masks that are not taken; VOC has pictures of other tasks, as it should.
        names: None, there is one order of the classes.
    """

    splits: Mapping[str, np.ndarray]
    remarks: tuple[str, ...]
    voc: Path
    test: Path | None
    augmented: Path | None
    sbd: Path | None
    lookup: np.ndarray
    left_out: tuple[str, ...] = ()
    names: tuple[str, ...] | None = None

    def example(self, split: str, image_id: str) -> Example:
        """Files of one image. In the test archive the XML names people only, so it is not used."""
        if split == "test":
            return Example(image_id, file_of((self.test or self.voc) / "JPEGImages", image_id, JPEGS), None)
        annotation = file_of(self.voc / "Annotations", image_id, (".xml",))
        image = file_of(self.voc / "JPEGImages", image_id, JPEGS)
        return Example(image_id, image, self._mask(split, image_id), annotation if annotation.is_file() else None)

    def _mask(self, split: str, image_id: str) -> MaskSource:
        """VOC's own mask, which has borders of 255, is preferred; SBD's own masks of val are never scored on."""
        official = file_of(self.voc / "SegmentationClass", image_id, MASKS)
        if self.sbd is not None and split == "train_aug" and not official.is_file():
            return MappedMat(file_of(self.sbd / "cls", image_id, MATS), "GTcls.Segmentation", self.lookup)
        if self.augmented is not None and not official.is_file():
            return IndexPng(file_of(self.augmented, image_id, MASKS))
        return IndexPng(official)


@dataclass(frozen=True)
class Voc2012:
    """The trainval archive of VOC 2012; the test archive, SBD or the augmented masks may be with it."""

    takes: ClassVar[frozenset[str]] = frozenset({"sbd", "aug"})

    def open(self, given: Given) -> VocOriginal:
        """Opens a VOCdevkit, a VOC2012, or a folder that holds one.

        The ids of train_aug are those of its list; without one, those of train and of the augmented masks that are not
        in val. With SBD they are those of train and of both lists of SBD that are not in val. Without any, of train.

        Raises:
            InputError: a folder or a list is missing or wrong, or an id is used to train and to validate.
        """
        cure = "unpack VOCtrainval_11-May-2012.tar and use source=<folder>/VOCdevkit"
        voc = given.source.need(*FOLDERS, holding="JPEGImages", cure=cure)
        voc = given.source.find(*FOLDERS, holding=f"{LISTS}/train.txt") or voc  # else the missing list is named below
        augmented, sbd = _more_masks(given, voc)
        official = {"train": read_ids(voc / LISTS / "train.txt"), "validation": read_ids(voc / LISTS / "val.txt")}
        splits = {"train_aug": _train_aug(voc, official, augmented, sbd), **official}
        refuse_shared(voc / LISTS, splits)
        test, remarks = _test(given.source)
        if test is not None:
            splits["test"] = read_ids(test / LISTS / "test.txt")
        classes = load_classes("voc").num_classes
        lookup = lookup_table({label: label for label in range(classes)}, classes)
        ids = np.concatenate(list(splits.values()))
        more = () if augmented is None else tuple(left_out(augmented, MASKS, ids))
        if sbd is not None:
            made_of = f"train_aug: VOC's own masks, and SBD's from {sbd / 'cls'}"
        elif augmented is not None:
            made_of = f"train_aug: VOC's own masks, and others from {augmented}"
        else:
            cure = f"use aug=<the unpacked {AUGMENTED}> or sbd=<benchmark_RELEASE>"
            made_of = f"train_aug is train only: no masks of SBD; {cure}"
        return VocOriginal(splits, (made_of, *remarks), voc, test, augmented, sbd, lookup, more)


def _more_masks(given: Given, voc: Path) -> tuple[Path | None, Path | None]:
    """Folder of augmented PNGs, or folder of SBD; at most one of them.

    What the user gave comes first, then PNGs in or beside VOC2012, then PNGs and SBD in the source.
    """
    if given.aug is not None and given.sbd is not None:
        raise InputError(f"{given.aug.argument}: {given.sbd.argument}: both hold the same masks; give one of them")
    if given.aug is not None:
        return given.aug.need(AUGMENTED, ".", holding="*.png", cure=f"use aug=<the unpacked {AUGMENTED}>"), None
    if given.sbd is not None:
        return None, given.sbd.need(*SBD, holding=SBD_MASKS, cure="use sbd=<the unpacked benchmark_RELEASE>")
    beside = next((folder for folder in (voc / AUGMENTED, voc.parent / AUGMENTED) if folder.is_dir()), None)
    augmented = beside or given.source.find(AUGMENTED, holding="*.png")
    return augmented, None if augmented else given.source.find(SBD[0], holding=SBD_MASKS)


def _train_aug(voc: Path, splits: Mapping[str, np.ndarray], augmented: Path | None, sbd: Path | None) -> np.ndarray:
    train, validation = splits["train"], splits["validation"]
    if sbd is not None:
        extra = np.union1d(read_ids(sbd / "train.txt"), read_ids(sbd / "val.txt"))
    elif augmented is None:
        return train
    elif (listed := voc / LISTS / "train_aug.txt").is_file():
        return read_ids(listed)
    else:
        extra = stems(augmented, MASKS)
    return np.union1d(train, np.setdiff1d(extra, validation))


def _test(source: Roots) -> tuple[Path | None, tuple[str, ...]]:
    """The folder VOC2012 of the test archive, and remarks. None and a remark for a list without pictures."""
    test = source.find(*FOLDERS, holding=f"{LISTS}/test.txt")
    if test is None:
        return None, ()
    ids = read_ids(test / LISTS / "test.txt")
    if any(file_of(test / "JPEGImages", image_id.decode(), JPEGS).is_file() for image_id in ids):
        return test, ()
    return None, (f"{test / LISTS / 'test.txt'}: left out, none of its pictures is there",)
