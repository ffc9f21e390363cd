"""Examples of an original download, and how they get into the layout of `DataLayout`.

A reader of one download, such as `dhr/dataset/voc.py`, says where the files of every example lie; what is checked
before anything is written, and how it is written, is the same for all downloads and stands here.
"""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from rich.console import Console
from rich.progress import track

from dhr.artifacts import DataLayout, read_mask, read_tags, write_atomically, write_tags
from dhr.dataset.classes import IGNORE, ClassTable
from dhr.errors import InputError

Transfer = Literal["link", "copy"]
SAFE_ID = re.compile(r"\w[\w.-]*", re.ASCII)


@dataclass(frozen=True)
class Example:
    """Where the original files of one example lie; `annotation` is a VOC style XML, None where there is none."""

    id: str
    image: Path
    mask: Path
    annotation: Path | None


@dataclass(frozen=True)
class SplitCounts:
    """What one prepared split holds, and from where its tags come."""

    images: int
    tags_from_xml: int
    tags_from_mask: int


def read_ids(path: Path) -> list[str]:
    """Read a list of ids, one per line.

    Raises:
        InputError: no such file, an empty list, an id that is none or occurs twice.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such list of ids; unpack the original download completely")
    ids = path.read_text(encoding="utf-8").split("\n")
    ids = [line.strip() for line in ids if line.strip()]
    if not ids:
        raise InputError(f"{path}: the list is empty; unpack the original download again")
    for id in ids:
        if not SAFE_ID.fullmatch(id):
            raise InputError(f"{path}: {id!r}: not an id; one file name without folder and ending is due on every line")
    if len(set(ids)) < len(ids):
        twice = next(id for position, id in enumerate(ids) if id in ids[:position])
        raise InputError(f"{path}: {twice}: this id stands in the list twice; remove one of the lines")
    return ids


def check_examples(layout: DataLayout, split: str, examples: Sequence[Example]) -> None:
    """Make sure that a split can be written as it should be, before anything is.

    Raises:
        InputError: an original file is missing, another file has the place of one, or the split has other images.
    """
    for what in ("image", "mask"):
        missing = [path for example in examples if not (path := getattr(example, what)).is_file()]
        if missing:
            raise InputError(
                f"split {split}: {missing[0]}: this {what} is missing, and {len(missing) - 1} more of {len(examples)}; "
                "unpack the original download completely, or give the folder that holds it"
            )
    wanted = {example.id for example in examples}
    foreign = sorted(path.stem for path in layout.split(split).glob("image/*") if path.stem not in wanted)
    if foreign:
        raise InputError(
            f"{layout.split(split)}: {foreign[0]}: {len(foreign)} images here are not in the list of the split; "
            "move that folder away, or prepare from the download it was made from"
        )
    for example in examples:
        for original, place in _transfers(layout, split, example):
            if place.exists() and not _same(original, place):
                raise InputError(f"{place}: differs from {original}; move the folder {layout.split(split)} away")


def write_examples(
    layout: DataLayout, split: str, examples: Sequence[Example], table: ClassTable, *, transfer: Transfer = "link"
) -> SplitCounts:
    """Bring images, masks and tags of one split into the layout; what is there already stays.

    Images and masks are hard links to the originals, or copies where those are on another disk or `transfer` is
    "copy". Tags come from the annotation, or else from the labels in the mask.

    Raises:
        InputError: a mask holds something else than class indices and IGNORE, or an annotation an unknown class.
    """
    for example in _with_progress(examples, f"{layout.folder}/{split}"):
        tags = layout.tags(split, example.id)
        if not tags.exists():
            size, names = _tags(example, table)
            write_tags(tags, size, names)
        for original, place in _transfers(layout, split, example):
            if not place.exists():
                _transfer(original, place, transfer)
    from_xml = sum(example.annotation is not None for example in examples)
    return SplitCounts(len(examples), from_xml, len(examples) - from_xml)


def _with_progress(examples: Sequence[Example], description: str) -> Iterable[Example]:
    console = Console(stderr=True)
    return track(examples, description, console=console, disable=not console.is_terminal)


def _transfers(layout: DataLayout, split: str, example: Example) -> list[tuple[Path, Path]]:
    """Pairs of original file and its place; the image comes last, because a split is the list of its images."""
    image = layout.split(split) / "image" / f"{example.id}{example.image.suffix}"
    return [(example.mask, layout.mask(split, example.id)), (example.image, image)]


def _tags(example: Example, table: ClassTable) -> tuple[tuple[int, int], list[str]]:
    """Return size (height, width) and tags of an example, after a check of its mask."""
    mask = read_mask(example.mask)
    labels = np.flatnonzero(np.bincount(mask.ravel(), minlength=IGNORE + 1))
    wrong = labels[(labels >= table.num_classes) & (labels != IGNORE)]
    if wrong.size:
        raise InputError(
            f"{example.mask}: label {wrong[0]}: {table.name} has classes 0 to {table.num_classes - 1} and {IGNORE} for "
            "pixels to ignore; fetch this mask again"
        )
    if example.annotation is not None:
        names = read_tags(example.annotation, table.names[table.first_tag :])
    else:
        names = [table.names[label] for label in labels if table.first_tag <= label < table.num_classes]
    return (mask.shape[0], mask.shape[1]), names


def _same(original: Path, place: Path) -> bool:
    """Whether two files are one, or as long as each other; a place never holds half of a file."""
    return original.samefile(place) or original.stat().st_size == place.stat().st_size


def _transfer(original: Path, place: Path, transfer: Transfer) -> None:
    """Put a file in its place whole, as a hard link if asked for and possible."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if transfer == "link":
        try:
            os.link(original.resolve(), place)
        except OSError:  # another disk, or a file system without links
            write_atomically(place, original.read_bytes())
    else:
        write_atomically(place, original.read_bytes())
