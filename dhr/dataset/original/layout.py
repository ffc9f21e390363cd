"""Data that lie in our layout already, as in the authors' downloads: <folder>/<split>/{image,mask,xml}/."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dhr.artifacts import IMAGE_SUFFIXES
from dhr.dataset.classes import read_names
from dhr.dataset.original.interface import Example, Roots, ids_array
from dhr.dataset.original.masks import IndexPng


@dataclass(frozen=True)
class LaidOut:
    """A data set in our layout.

    Attributes:
        root: its folder.
        splits: split -> ids.
        names: class order that `<folder>.json` beside the splits states, None without one.
    """

    root: Path
    splits: Mapping[str, np.ndarray]
    names: tuple[str, ...] | None
    remarks: tuple[str, ...]

    def example(self, split: str, id: str) -> Example:
        """See `Original`; a split without masks or annotations has none of them for any image."""
        folder = self.root / split
        candidates = [folder / "image" / f"{id}{suffix}" for suffix in IMAGE_SUFFIXES]
        image = next((path for path in candidates if path.is_file()), candidates[0])
        mask, annotation = folder / "mask" / f"{id}.png", folder / "xml" / f"{id}.xml"
        return Example(
            id=id,
            image=image,
            mask=IndexPng(mask) if mask.parent.is_dir() else None,
            annotation=annotation if annotation.is_file() else None,
        )


def find_laid_out(roots: Roots, folder: str) -> LaidOut | None:
    """The data set `folder` in one of the roots, or a root that is it; None where no split lies there."""
    for place in (*(root / folder for root in roots.folders), *roots.folders):
        images = sorted(place.glob("*/image")) if place.is_dir() else []
        if images:
            splits = {path.parent.name: _ids(path) for path in images if path.is_dir()}
            remark = f"{place} is laid out already: its masks are taken as they are"
            return LaidOut(place, splits, read_names(place), (remark,))
    return None


def _ids(images: Path) -> np.ndarray:
    return ids_array((path.stem for path in images.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES), images)
