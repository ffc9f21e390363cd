"""The look at the features of a USS model. The only part of an audit that imports torch."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from dhr.core.errors import InputError
from dhr.dataset.audit.finding import Notes, problem_of
from dhr.dataset.audit.listing import Listing, list_stems
from dhr.dataset.audit.made import change, note_change, open_products
from dhr.disk.feature_file import FORMS, Shape
from dhr.disk.feature_store import FeatureStore
from dhr.disk.image import image_size
from dhr.disk.products import Products
from dhr.disk.reading import BadFileError
from dhr.runtime.progress import progress

BATCH = 32  # files in flight
WHAT = "USS features"


@dataclass(frozen=True)
class FeatureAuditor:
    """Looks at the features of one split.

    Attributes:
        store: where they lie.
        images: folder of the images they belong to.
        notes: takes what is wrong.
    """

    store: FeatureStore
    images: Path
    notes: Notes

    def audit(self, listing: Listing) -> None:
        """Reads the file of every image once."""
        if not self.store.folder.is_dir():
            self.notes.broken(f"{WHAT}: no folder", self.store.folder, "no such folder", self.store.cure)
            return
        stems = list_stems(self.store.folder, tuple(f".{form}" for form in FORMS), self.notes)
        for stem in stems[~np.isin(stems, listing.ids)]:
            image_id, cure = os.fsdecode(bytes(stem)), "delete it, or bring its image"
            path = self.store.path(image_id)
            self.notes.remark(f"{WHAT}: extra", path, "there is no such image", cure, image_id=image_id)
        made = open_products(self.store.folder, self.store.cure, WHAT, self.notes)
        depths = np.zeros(len(listing.ids), np.int64)
        looks = progress(self._looks(listing, made), f"audit {self.store.folder.name}", total=len(listing.ids))
        for position, ((image_id, name), (shape, problem)) in enumerate(zip(listing.files(), looks, strict=True)):
            path = self.store.path(image_id)
            if isinstance(shape, str):
                kind = "unreadable" if path.exists() else "missing"
                self.notes.broken(f"{WHAT}: {kind}", path, shape, self.store.cure, image_id=image_id)
            else:
                depths[position] = shape[0]
                self._note_misfit(image_id, self.images / name, shape)
                note_change(problem, path, WHAT, self.store.cure, self.notes, image_id=image_id)
        self._note_depths(listing, depths)

    def _looks(self, listing: Listing, made: Products) -> Iterator[tuple[Shape | str, str | None]]:
        """Of every image: shape (D,h,w) of its features, or why they cannot be read; what `change` says of the file."""
        ids = (image_id for image_id, _ in listing.files())

        def look(image_id: str) -> tuple[Shape | str, str | None]:
            path = self.store.path(image_id)
            shape: Shape | str
            try:
                channels, height, width = self.store.read(image_id).shape
                shape = channels, height, width
            except InputError as error:
                shape = problem_of(error, path)
            return shape, change(made, path)

        with ThreadPoolExecutor() as pool:
            for batch in iter(lambda: list(islice(ids, BATCH)), []):
                yield from pool.map(look, batch)

    def _note_misfit(self, image_id: str, image: Path, shape: Shape) -> None:
        """Notes features whose shape cannot belong to the image."""
        try:
            problem = self.store.mismatch(shape, image_size(image))
        except BadFileError:
            return  # the look at the images says so
        if problem is not None:
            cure = f"delete it and {self.store.cure}"
            self.notes.broken(f"{WHAT}: shape", self.store.path(image_id), problem, cure, image_id=image_id)

    def _note_depths(self, listing: Listing, depths: np.ndarray) -> None:
        values, counts = np.unique(depths[depths > 0], return_counts=True)
        if len(values) < 2:
            return
        usual = int(values[np.argmax(counts)])
        for position in np.flatnonzero((depths > 0) & (depths != usual)):
            image_id = bytes(listing.ids[position]).decode()
            problem = f"{depths[position]} channels, where most files have {usual}"
            path = self.store.path(image_id)
            self.notes.broken(f"{WHAT}: channels", path, problem, self.store.cure, image_id=image_id)
