"""The look at the features of a USS model. The only part of an audit that imports torch."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from dhr.dataset.audit.finding import Notes, problem_of
from dhr.dataset.audit.listing import Listing, list_stems, note_extra
from dhr.decoding import BadFileError, image_size
from dhr.errors import InputError
from dhr.progress import progress
from dhr.uss.store import FeatureStore

BATCH = 32  # files in flight
STRETCHED = 0.1  # how far, beyond one cell, the height of a map may be from what its width and the image's shape give
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
        there = list_stems(self.store.folder, ".pt", self.notes)
        note_extra(self.store.folder, ".pt", there, listing.ids, self.notes, what=WHAT)
        depths = np.zeros(len(listing.ids), np.int64)
        found = progress(self._shapes(listing), f"audit {self.store.folder.name}", total=len(listing.ids))
        for position, ((id, name), shape) in enumerate(zip(listing.files(), found, strict=True)):
            if isinstance(shape, str):
                kind = "unreadable" if self.store.path(id).exists() else "missing"
                self.notes.broken(f"{WHAT}: {kind}", self.store.path(id), shape, self.store.cure, id=id)
            else:
                depths[position] = shape[0]
                self._note_stretched(id, self.images / name, shape)
        self._note_depths(listing, depths)

    def _shapes(self, listing: Listing) -> Iterator[tuple[int, ...] | str]:
        """Shape (D,h,w) of every image's features, or what is wrong with the file."""
        ids = (id for id, _ in listing.files())
        with ThreadPoolExecutor() as pool:
            for batch in iter(lambda: list(islice(ids, BATCH)), []):
                yield from pool.map(self._shape, batch)

    def _shape(self, id: str) -> tuple[int, ...] | str:
        try:
            return tuple(self.store.read(id).shape)
        except InputError as error:
            return problem_of(error, self.store.path(id))

    def _note_stretched(self, id: str, image: Path, shape: tuple[int, ...]) -> None:
        """A map of another shape than its image still works, but its cells are no squares of the image."""
        try:
            height, width = image_size(image)
        except BadFileError:
            return  # the look at the images says so
        due = shape[2] * height / width
        if abs(shape[1] - due) > 1 + STRETCHED * due:
            problem = f"map of {shape[1]} x {shape[2]} for an image of {height} x {width} (height x width)"
            cure = f"were they made from other images? delete them and {self.store.cure}"
            self.notes.remark(f"{WHAT}: shape", self.store.path(id), problem, cure, id=id)

    def _note_depths(self, listing: Listing, depths: np.ndarray) -> None:
        values, counts = np.unique(depths[depths > 0], return_counts=True)
        if len(values) < 2:
            return
        usual = int(values[np.argmax(counts)])
        for position in np.flatnonzero((depths > 0) & (depths != usual)):
            id = bytes(listing.ids[position]).decode()
            problem = f"{depths[position]} channels, where most files have {usual}"
            self.notes.broken(f"{WHAT}: channels", self.store.path(id), problem, self.store.cure, id=id)
