"""MS COCO 2014 as it is downloaded: masks are painted from the annotated instances.

Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014. Instances overlap, so a mask depends on the order of
painting. Ours is that of COCO-Stuff's official pixel maps: in the order of the file, later ones over earlier ones.
Crowd regions are known to hold the class, but not where: they are ignored.
"""

import os
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from dhr.core.errors import InputError
from dhr.dataset.classes import load_classes
from dhr.dataset.original.interface import PICTURES, Example, Given, Roots, ids_array
from dhr.dataset.original.masks import lookup_table, source_ids
from dhr.dataset.original.regions import RegionList, Regions
from dhr.dataset.original.splits import left_out, row
from dhr.disk.file_names import JPEGS, SAFE_ID, file_of, has_ending
from dhr.disk.json_stream import CURE, Element, array_elements
from dhr.disk.reading import PIXELS
from dhr.disk.stated import shown

FOLDERS = {"train": "train2014", "validation": "val2014"}


@dataclass(frozen=True, eq=False)
class CocoSplit:
    """One split.

    Attributes:
        folder: pictures.
        ids: (N) bytes, sorted, of the images with an annotation.
        regions: what is painted.
        unlabelled: number of images without an annotation.
        left_out: pictures that the file does not know.
    """

    folder: Path
    ids: np.ndarray
    regions: Regions
    unlabelled: int
    left_out: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class CocoOriginal:
    """An opened COCO 2014; `names` is None, there is one order of the classes."""

    parts: Mapping[str, CocoSplit]
    remarks: tuple[str, ...]
    names: tuple[str, ...] | None = None

    @property
    def splits(self) -> Mapping[str, np.ndarray]:
        """Images with at least one annotation."""
        return {split: part.ids for split, part in self.parts.items()}

    @property
    def left_out(self) -> tuple[str, ...]:
        """Pictures that the files do not know."""
        return tuple(sentence for part in self.parts.values() for sentence in part.left_out)

    def example(self, split: str, image_id: str) -> Example:
        """Files of one image, with the classes of all its annotations as tags."""
        part = self.parts[split]
        mask = part.regions.mask(row(part.ids, image_id))
        names = load_classes("coco").names
        return Example(
            id=image_id,
            image=file_of(part.folder, image_id, JPEGS),
            mask=mask,
            tags=tuple(names[label] for label in np.unique(mask.regions["class"])),
        )


@dataclass(frozen=True)
class Coco2014:
    """The archives train2014, val2014 and annotations_trainval2014."""

    takes: ClassVar[frozenset[str]] = frozenset()

    def open(self, given: Given) -> CocoOriginal:
        """Opens a folder with train2014/, val2014/ (or both in images/) and annotations/.

        Raises:
            InputError: one of them is missing, or the annotations are broken or of another data set.
        """
        parts = {split: _split(given.source, folder) for split, folder in FOLDERS.items()}
        remarks = tuple(
            f"{split}: {part.unlabelled} of {len(part.ids) + part.unlabelled} images, without annotation, are left out"
            for split, part in parts.items()
            if part.unlabelled
        )
        return CocoOriginal(parts, remarks)


def _split(source: Roots, name: str) -> CocoSplit:
    cure = f"unpack {name}.zip and annotations_trainval2014.zip, and use source=<their folder>"
    folder = source.need(name, f"images/{name}", holding=PICTURES, cure=cure)
    file = source.file(f"annotations/instances_{name}.json", f"instances_{name}.json")
    if file is None:
        raise InputError(f"{source.argument}: no file annotations/instances_{name}.json in it; {cure}")
    images, stated = _scan(file)
    table = load_classes("coco")
    numbers = source_ids("coco")
    lookup = lookup_table(dict(zip(numbers, range(table.first_tag, table.num_classes), strict=True)), max(numbers) + 1)
    classes, rows = stated.classes(lookup), stated.rows(images.numbers)
    labelled = np.bincount(rows, minlength=len(images.ids)) > 0
    regions = stated.painted(  # crowds first: what they cover is ignored unless an object is painted over it
        rows=(np.cumsum(labelled) - 1)[rows], order=stated.table["crowd"] == 0, classes=classes,
        sizes=images.sizes[labelled], background=0,
    )  # fmt: skip
    return CocoSplit(
        folder=folder,
        ids=images.ids[labelled],
        regions=regions,
        unlabelled=int((~labelled).sum()),
        left_out=tuple(left_out(folder, JPEGS, images.ids)),
    )


@dataclass(frozen=True, eq=False)
class _Images:
    """Images of a file: (N) bytes sorted, and in the same order (N) numbers and (N,2) height and width."""

    ids: np.ndarray
    numbers: np.ndarray
    sizes: np.ndarray


def _scan(file: Path) -> tuple[_Images, RegionList]:
    """Reads a file of instances once from its beginning to its end."""
    names: list[str] = []
    numbers, regions = array("q"), RegionList(file)
    for element in array_elements(file):
        if element.key == "images":
            names.append(_id(element))
            numbers.extend((element.whole("id"), *_size(element)))
        elif element.key == "annotations":
            regions.add(element, crowd=element.whole("iscrowd"))
    if not names or not len(regions.table):
        raise InputError(f"{file}: no images and annotations in it; {CURE}")
    order = np.argsort(np.array(names))
    columns = np.asarray(numbers).reshape(-1, 3)[order]
    if len(np.unique(columns[:, 0])) < len(columns):
        raise InputError(f"{file}: two images have the same number; {CURE}")
    return _Images(ids_array(iter(names), file), columns[:, 0], columns[:, 1:]), regions


def _id(element: Element) -> str:
    name = element.value.get("file_name") if isinstance(element.value, dict) else None
    image_id = os.path.splitext(name)[0] if isinstance(name, str) and has_ending(name, JPEGS) else ""
    if not SAFE_ID.fullmatch(image_id):
        raise InputError(f"{element.place}: file_name {shown(name)}: a name without folder is due; {CURE}")
    return image_id


def _size(element: Element) -> tuple[int, int]:
    height, width = element.whole("height"), element.whole("width")
    if not 0 < height * width <= PIXELS:
        raise InputError(f"{element.place}: size {height} x {width}: no image has it; {CURE}")
    return height, width
