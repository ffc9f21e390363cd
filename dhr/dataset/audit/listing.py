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
        for image_id, suffix in zip(self.ids, self.suffixes, strict=True):
            yield bytes(image_id).decode(), bytes(image_id + suffix).decode()


def list_split(layout: DataLayout, split: str, notes: Notes) -> Listing:
    """Lists a split; what cannot be used, or belongs to no image, goes into `notes`."""
    folder = layout.split(split)
    images = list_images(folder / "image", notes)
    ids = stems(sorted(images))
    suffixes = np.array([images[bytes(image_id).decode()].encode() for image_id in ids], dtype=np.bytes_)
    masks = list_stems(folder / "mask", ".png", notes)
    tags = list_stems(folder / "xml", ".xml", notes)
    note_extra(folder / "mask", ".png", masks, ids, notes, what="mask")
    note_extra(folder / "xml", ".xml", tags, ids, notes, what="tags")
    return Listing(ids, suffixes, masks, tags)


def list_images(folder: Path, notes: Notes) -> dict[str, str]:
    """Id -> ending of every usable image of a folder."""
    suffixes: dict[str, str] = {}
    for path in _entries(folder):
        image_id, suffix = path.stem, path.suffix
        if not has_ending(path.name, IMAGES):
            _note_stranger(path, notes)
        elif not SAFE_ID.fullmatch(image_id):
            cure = f"rename the image, its mask and its XML: {IDS}"
            notes.broken("image: name", path, "not usable as an id", cure, image_id=image_id)
        elif image_id in suffixes:
            other = printable(path.with_suffix(suffixes[image_id]).name)
            notes.broken("image: twice", path, f"{other} has the same id", "delete one of the two", image_id=image_id)
            # The one that every stage reads.
            suffixes[image_id] = min(suffixes[image_id], suffix, key=spellings(IMAGES).index)
        else:
            suffixes[image_id] = suffix
    return suffixes


def list_stems(folder: Path, suffix: str | tuple[str, ...], notes: Notes) -> np.ndarray:
    """(N) bytes: sorted names without ending of the files that have this ending, or one of these; others are noted."""
    names = []
    for path in _entries(folder):
        if path.suffix and path.name.endswith(suffix) and not path.name.startswith("."):
            names.append(path.stem)
        else:
            _note_stranger(path, notes)
    return stems(names)


def note_extra(folder: Path, suffix: str, found: np.ndarray, ids: np.ndarray, notes: Notes, *, what: str) -> None:
    """Adds the files that belong to no image."""
    for stem in found[~np.isin(found, ids)]:
        image_id = os.fsdecode(bytes(stem))
        cure = "delete it, or bring its image"
        path = folder / f"{image_id}{suffix}"
        notes.remark(f"{what}: extra", path, "there is no such image", cure, image_id=image_id)


def stems(names: list[str]) -> np.ndarray:
    """(N) bytes, sorted."""
    return np.sort(np.array([os.fsencode(name) for name in names], dtype=np.bytes_))


def _entries(folder: Path) -> Iterator[Path]:
    """Everything in a folder, sorted; nothing where there is no folder."""
    names = sorted(os.listdir(folder)) if folder.is_dir() else []
    return (folder / name for name in names)


def _note_stranger(path: Path, notes: Notes) -> None:
    is_part = path.name.startswith(".") and path.suffix == ".part"
    killed, foreign = "left over from a stage that was killed", f"not a file that belongs into {path.parent.name}"
    problem = killed if is_part else foreign
    notes.remark("foreign file", path, problem, "delete it")
