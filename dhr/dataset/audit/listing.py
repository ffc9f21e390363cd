"""Which files lie in the folders of a split; names only, nothing is opened."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dhr.dataset.audit.finding import Notes
from dhr.disk.file_names import IDS, IMAGES, SAFE_ID, has_ending, printable, spellings
from dhr.disk.layout import DataLayout


@dataclass(frozen=True)
class Listing:
    """Files of one split.

    Attributes:
        ids: (N) bytes, sorted, each once.
        suffixes: (N) bytes, endings of the image files.
        masks: (M) bytes, sorted stems of the masks.
        tags: (T) bytes, sorted stems of the annotations.
    """

    ids: np.ndarray
    suffixes: np.ndarray
    masks: np.ndarray
    tags: np.ndarray

    def files(self) -> Iterator[tuple[str, str]]:
        """Id and name of every image, in the order of the ids."""
        for id, suffix in zip(self.ids, self.suffixes, strict=True):
            yield bytes(id).decode(), bytes(id + suffix).decode()


def list_split(layout: DataLayout, split: str, notes: Notes) -> Listing:
    """Lists a split; what cannot be used, or belongs to no image, goes into `notes`."""
    folder = layout.split(split)
    images = list_images(folder / "image", notes)
    ids = stems(sorted(images))
    suffixes = np.array([images[bytes(id).decode()].encode() for id in ids], dtype=np.bytes_)
    masks = list_stems(folder / "mask", ".png", notes)
    tags = list_stems(folder / "xml", ".xml", notes)
    note_extra(folder / "mask", ".png", masks, ids, notes, what="mask")
    note_extra(folder / "xml", ".xml", tags, ids, notes, what="tags")
    return Listing(ids, suffixes, masks, tags)


def list_images(folder: Path, notes: Notes) -> dict[str, str]:
    """Id -> ending of every usable image of a folder."""
    found: dict[str, str] = {}
    for path in _entries(folder):
        id, suffix = path.stem, path.suffix
        if not has_ending(path.name, IMAGES):
            _note_stranger(path, notes)
        elif not SAFE_ID.fullmatch(id):
            cure = f"rename the image, its mask and its XML: {IDS}"
            notes.broken("image: name", path, "not usable as an id", cure, id=id)
        elif id in found:
            other = printable(path.with_suffix(found[id]).name)
            notes.broken("image: twice", path, f"{other} has the same id", "delete one of the two", id=id)
            found[id] = min(found[id], suffix, key=spellings(IMAGES).index)  # the one that every stage reads
        else:
            found[id] = suffix
    return found


def list_stems(folder: Path, suffix: str | tuple[str, ...], notes: Notes) -> np.ndarray:
    """(N) bytes: sorted names without ending of the files that have this ending, or one of these; others are noted."""
    found = []
    for path in _entries(folder):
        if path.suffix and path.name.endswith(suffix) and not path.name.startswith("."):
            found.append(path.stem)
        else:
            _note_stranger(path, notes)
    return stems(found)


def note_extra(folder: Path, suffix: str, found: np.ndarray, ids: np.ndarray, notes: Notes, *, what: str) -> None:
    """Adds the files that belong to no image."""
    for stem in found[~np.isin(found, ids)]:
        id = os.fsdecode(bytes(stem))
        cure = "delete it, or bring its image"
        notes.remark(f"{what}: extra", folder / f"{id}{suffix}", "there is no such image", cure, id=id)


def stems(names: list[str]) -> np.ndarray:
    """(N) bytes, sorted."""
    return np.sort(np.array([os.fsencode(name) for name in names], dtype=np.bytes_))


def _entries(folder: Path) -> Iterator[Path]:
    """Everything in a folder, sorted; nothing where there is no folder."""
    names = sorted(os.listdir(folder)) if folder.is_dir() else []
    return (folder / name for name in names)


def _note_stranger(path: Path, notes: Notes) -> None:
    left = path.name.startswith(".") and path.suffix == ".part"
    problem = "left over from a stage that was killed" if left else f"not a file that belongs into {path.parent.name}"
    notes.remark("foreign file", path, problem, "delete it")
