"""PASCAL Context as it is downloaded: pictures of VOC 2010, and masks in one of three forms.

Mottaghi et al., The Role of Context for Object Detection and Semantic Segmentation in the Wild, CVPR 2014. The original
masks are MATLAB files with numbers of 459 labels, of which the 59 most frequent are the classes. The others, and
background in the PNGs, are ignored; in the protocol of 60 classes they are class 0, the background.
"""

from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from dhr.core.errors import InputError
from dhr.core.labels import IGNORE
from dhr.dataset.classes import load_classes
from dhr.dataset.original.class_order import CHOICE, ORDERS, order_of
from dhr.dataset.original.interface import Example, Given, MaskSource, read_ids
from dhr.dataset.original.masks import MATS, UNKNOWN, MappedMat, MappedPng, lookup_table, source_ids
from dhr.dataset.original.regions import RegionList, Regions
from dhr.dataset.original.splits import left_out, refuse_shared, row, stems
from dhr.disk.file_names import JPEGS, MASKS, file_of
from dhr.disk.json_stream import CURE, Element, array_elements
from dhr.disk.stated import shown, size_of

FOLDERS = ("VOCdevkit/VOC2010", "VOC2010", ".", "VOCdevkit")
LISTS = ("ImageSets/SegmentationContext", "ImageSets/Main")
FILES = {"train": "train.txt", "validation": "val.txt"}
JSON_FILES = ("trainval_merged.json", "inst_seg_correct.json", "detail_gt_rle.json")
DETAIL = "annos_segmentation"  # key of the regions in the file of the Detail API
NUMBERS = 460  # of labels, with 0


@dataclass(frozen=True, eq=False)
class Mats:
    """The original MATLAB files; `lookup` (460) of their labels."""

    folder: Path
    lookup: np.ndarray
    suffixes: ClassVar = MATS

    def mask(self, image_id: str) -> MappedMat:
        """The mask of one image."""
        return MappedMat(file_of(self.folder, image_id, self.suffixes), "LabelMap", self.lookup)


@dataclass(frozen=True, eq=False)
class Pngs:
    """PNG files; `lookup` (256) of their labels."""

    folder: Path
    lookup: np.ndarray
    suffixes: ClassVar = MASKS

    def mask(self, image_id: str) -> MappedPng:
        """The mask of one image."""
        return MappedPng(file_of(self.folder, image_id, self.suffixes), self.lookup)


@dataclass(frozen=True, eq=False)
class JsonRegions:
    """A JSON file with regions of the images `ids` (N), sorted bytes."""

    ids: np.ndarray
    regions: Regions

    def mask(self, image_id: str) -> MaskSource:
        """The mask of one image."""
        return self.regions.mask(row(self.ids, image_id))


@dataclass(frozen=True, eq=False)
class ContextOriginal:
    """An opened PASCAL Context.

    Attributes:
        splits: train and validation.
        remarks: which form of masks is read, and how the order of the classes is known.
        images: folder of the pictures.
        form: masks.
        names: order of the classes in all masks, that of our table.
        left_out: masks that are not taken; VOC has pictures of other tasks, as it should.
    """

    splits: Mapping[str, np.ndarray]
    remarks: tuple[str, ...]
    images: Path
    form: Mats | Pngs | JsonRegions
    names: tuple[str, ...] | None
    left_out: tuple[str, ...] = ()

    def example(self, split: str, image_id: str) -> Example:
        """Files of one image; its tags are the classes in its mask."""
        return Example(image_id, file_of(self.images, image_id, JPEGS), self.form.mask(image_id))


@dataclass(frozen=True)
class PascalContext:
    """VOC 2010 with the masks of PASCAL Context: .mat files, PNGs, or the JSON file of the Detail API.

    Attributes:
        background: whether pixels of none of the 59 classes are a class of their own, the first; else they are ignored.
    """

    background: bool = False
    takes: ClassVar[frozenset[str]] = frozenset({"class_order"})

    def open(self, given: Given) -> ContextOriginal:
        """Opens a VOCdevkit, a VOC2010, or a folder that holds one; the masks may lie in either.

        The first form is read that is there for all images, in the order .mat, PNG, JSON.

        Raises:
            InputError: pictures, lists or masks are missing, or the order of the classes in PNGs is not clear.
        """
        if given.class_order is not None and given.class_order not in ORDERS:
            raise InputError(f"class_order: {given.class_order}: no such order; {CHOICE}")
        cure = "unpack VOCtrainval_03-May-2010.tar and use source=<folder>/VOCdevkit"
        voc = given.source.need(*FOLDERS, holding="JPEGImages", cure=cure)
        lists = given.source.need(
            *(f"{folder}/{lists}" for lists in LISTS for folder in FOLDERS), holding="train.txt", cure=cure
        )
        splits = {split: read_ids(lists / file) for split, file in FILES.items()}
        refuse_shared(lists, splits)
        ids = np.concatenate(list(splits.values()))
        form, remark = _form(given, ids, voc / "Annotations", self._final)
        more = () if isinstance(form, JsonRegions) else tuple(left_out(form.folder, form.suffixes, ids))
        names = load_classes("context60" if self.background else "context").names
        return ContextOriginal(splits, (remark,), voc / "JPEGImages", form, names, more)

    def _final(self, lookup: np.ndarray) -> np.ndarray:
        """A lookup table of the 59 classes as one of what is asked for."""
        if not self.background:
            return lookup
        final = np.where(lookup == IGNORE, 0, lookup + 1)
        final[lookup == UNKNOWN] = UNKNOWN
        return final.astype(np.int16)


def _form(
    given: Given, ids: np.ndarray, annotations: Path, final: Callable[[np.ndarray], np.ndarray]
) -> tuple[Mats | Pngs | JsonRegions, str]:
    """The first form that has all masks, or else the first that is there, so that the missing ones are named."""
    source = given.source
    mats = source.find(*(f"{folder}/trainval" for folder in FOLDERS), holding="*.mat")
    pngs = source.find(*(f"{folder}/SegmentationClassContext" for folder in FOLDERS), holding="*.png")
    file = source.file(*(f"{folder}/{name}" for name in JSON_FILES for folder in FOLDERS))
    has_mats, has_pngs = (_complete(mats, MATS, ids), _complete(pngs, MASKS, ids))
    if mats and (has_mats or not (has_pngs or file)):
        return Mats(mats, final(_lookup())), f"masks: .mat files of {mats}"
    if pngs and (has_pngs or not file):
        found, remark = _ordered(given, ids, pngs, mats, annotations)
        return Pngs(found.folder, final(found.lookup)), remark
    if file:
        return _regions(file, ids, final(_lookup())), f"masks: regions of {file}"
    raise InputError(
        f"{source.argument}: no masks in it; unpack trainval.tar.gz of PASCAL Context beside JPEGImages, or put "
        f"SegmentationClassContext or {JSON_FILES[0]} there"
    )


def _complete(folder: Path | None, suffixes: tuple[str, ...], ids: np.ndarray) -> bool:
    return folder is not None and bool(np.isin(ids, stems(folder, suffixes)).all())


def _lookup() -> np.ndarray:
    """(460) class index of each of the 459 labels."""
    others = dict.fromkeys(range(NUMBERS), IGNORE)
    return lookup_table(others | {number: index for index, number in enumerate(source_ids("context"))}, NUMBERS)


def _ordered(given: Given, ids: np.ndarray, folder: Path, mats: Path | None, annotations: Path) -> tuple[Pngs, str]:
    """The PNGs, with the class order that they were found to have."""
    table = load_classes("context")
    lookups = {
        order: lookup_table({0: IGNORE} | {label: table.names.index(name) for label, name in enumerate(names, 1)}, 256)
        for order, names in table.orders.items()
    }
    masks = [image_id.decode() for image_id in np.intersect1d(ids, stems(folder, MASKS))]
    originals = [image_id.decode() for image_id in stems(mats, MATS)] if mats else []
    matlab = Mats(folder=mats or folder, lookup=_lookup())
    order, reason = order_of(
        folder, masks, lookups, mats={image_id: matlab.mask(image_id) for image_id in originals},
        annotations=annotations, stated=given.class_order,
    )  # fmt: skip
    return Pngs(folder, lookups[order]), f"masks: PNG files of {folder} in the order {order} ({reason})"


def _regions(file: Path, ids: np.ndarray, lookup: np.ndarray) -> JsonRegions:
    """Scans a file once; regions of images that are in no split are left out when masks are asked for."""
    stated, sizes, later_wins = RegionList(file), array("q"), False
    for element in array_elements(file):
        if element.key in ("", DETAIL):
            stated.add(element)
            sizes.extend(_size(element))
            later_wins = element.key == DETAIL
    if not sizes:
        raise InputError(f"{file}: no regions in it; {CURE}")
    numbers, first = np.unique(stated.table["image"], return_index=True)
    classes = stated.classes(lookup)
    # Where regions overlap: the Detail API paints its own file in order; the plain list has objects before stuff.
    order = np.arange(len(classes)) * (1 if later_wins else -1)
    regions = stated.painted(
        rows=stated.rows(numbers), order=order, classes=classes, sizes=np.asarray(sizes).reshape(-1, 2)[first],
        background=int(lookup[0]),
    )  # fmt: skip
    return JsonRegions(_ids(file, numbers, ids), regions)


def _ids(file: Path, numbers: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """(N) ids of sorted image numbers, sorted too: 2008000060, always of ten digits, is 2008_000060.

    Raises:
        InputError: one of the `wanted` ids is not among them, or a number is too long.
    """
    if numbers[-1] >= 10**10:
        raise InputError(f"{file}: image_id {numbers[-1]}: ten digits are due, such as 2008000060; {CURE}")
    ids = np.array([f"{number // 10**6:04d}_{number % 10**6:06d}" for number in numbers], dtype=np.bytes_)
    missing = np.setdiff1d(wanted, ids)
    if len(missing):
        raise InputError(f"{file}: no region of {missing[0].decode()}, nor of {len(missing) - 1} more images; {CURE}")
    return ids


def _size(element: Element) -> tuple[int, int]:
    """Height and width as the region states them."""
    segmentation = element.value.get("segmentation")
    size = segmentation.get("size") if isinstance(segmentation, dict) else None
    try:
        return size_of(size)
    except (TypeError, ValueError):
        place = f"{element.place}: segmentation of size {shown(size)}"
        raise InputError(f"{place}: height and width are due; {CURE}") from None
