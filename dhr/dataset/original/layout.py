"""Data that lie in our layout already, as in the authors' downloads: <folder>/<split>/{image,mask,xml}/."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dhr.dataset.classes import read_names
from dhr.dataset.original.interface import Example, Roots
from dhr.dataset.original.masks import IndexPng
from dhr.dataset.original.splits import left_out, some, stems
from dhr.disk.file_names import IMAGES, MASKS, file_of, names_in

TAGS = (".xml",)


@dataclass(frozen=True)
class LaidOut:
    """A data set in our layout.

    Attributes:
        root: its folder.
        splits: split -> ids.
        names: class order that `<folder>.json` beside the splits states, None without one.
        remarks: that it is laid out.
        left_out: see `Original`.
    """

    root: Path
    splits: Mapping[str, np.ndarray]
    names: tuple[str, ...] | None
    remarks: tuple[str, ...]
    left_out: tuple[str, ...] = ()

    def example(self, split: str, image_id: str) -> Example:
        """See `Original`; a split without masks or annotations has none of them for any image."""
        folder = self.root / split
        mask, annotation = file_of(folder / "mask", image_id, MASKS), file_of(folder / "xml", image_id, TAGS)
        return Example(
            id=image_id,
            image=file_of(folder / "image", image_id, IMAGES),
            mask=IndexPng(mask) if mask.parent.is_dir() else None,
            annotation=annotation if annotation.is_file() else None,
        )


def find_laid_out(roots: Roots, folder: str) -> LaidOut | None:
    """The data set `folder` in one of the roots, or a root that is it; None where no split lies there."""
    for place in (*(root / folder for root in roots.folders), *roots.folders):
        images = sorted(place.glob("*/image")) if place.is_dir() else []
        if images:
            splits = {path.parent.name: stems(path, IMAGES) for path in images if path.is_dir()}
            remark = f"{place} is laid out already: its masks are taken as they are"
            sentences = [sentence for split, ids in splits.items() for sentence in _left_out(place / split, ids)]
            return LaidOut(place, splits, read_names(place), (remark,), tuple(sentences))
    return None


def _left_out(folder: Path, ids: np.ndarray) -> Iterator[str]:
    """Sentences on the files of a split that are not taken, and on images without XML where others have one."""
    for kind, suffixes in (("image", IMAGES), ("mask", MASKS), ("xml", TAGS)):
        yield from left_out(folder / kind, suffixes, ids)
    tagged = np.array([os.fsencode(os.path.splitext(name)[0]) for name in names_in(folder / "xml", TAGS)], np.bytes_)
    if len(tagged) and len(lacking := ids[~np.isin(ids, tagged)]):
        yield f"{folder / 'xml'}: nothing of {some(lacking)}: their tags are the classes in their masks"
