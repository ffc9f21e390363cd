"""Ids of splits: from folders, each in one split only, and back to their row."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dhr.core.errors import InputError
from dhr.dataset.original.interface import ids_array
from dhr.disk.file_names import JPEGS, MASKS, has_ending, names_in, printable

NAMED = 3  # names in a remark


def stems(folder: Path, suffixes: tuple[str, ...]) -> np.ndarray:
    """(N) bytes, sorted: ids of the files of a folder that end with one of `suffixes`, in any case.

    Raises:
        InputError: no such file, a name that is no id, or two files of one id.
    """
    return ids_array((os.path.splitext(name)[0] for name in names_in(folder, suffixes)), folder)


def left_out(folder: Path, suffixes: tuple[str, ...], ids: np.ndarray) -> list[str]:
    """Sentences on the entries of a folder that are not taken: of another ending, or of none of the sorted `ids`.

    At most one sentence for each reason, with the number and the first names; none without a folder.
    """
    names = np.array([os.fsencode(name) for name in (os.listdir(folder) if folder.is_dir() else ())], np.bytes_)
    taken = np.array([has_ending(os.fsdecode(name), suffixes) for name in names], bool)
    stems = np.array([os.path.splitext(name)[0] for name in names.tolist()], np.bytes_)
    others, extra = names[~taken], names[taken & ~np.isin(stems, ids)]
    endings, images = f"the ending is none of {', '.join(suffixes)}", "no image of the split has this name"
    reasons = ((others, endings), (extra, images))
    return [f"{folder}: left out: {some(np.sort(files))}: {reason}" for files, reason in reasons if len(files)]


def of_folders(
    images: Mapping[str, Path],
    masks: Mapping[str, Path],
    splits: Mapping[str, np.ndarray],
    suffixes: tuple[str, ...] = MASKS,
) -> tuple[str, ...]:
    """`left_out` of the folders of pictures and of masks of all splits; splits may share a folder."""
    sentences: dict[str, None] = {}  # in their order, each once
    for split in splits:
        for folders, endings in ((images, JPEGS), (masks, suffixes)):
            sharing = [ids for other, ids in splits.items() if folders[other] == folders[split]]
            sentences.update(dict.fromkeys(left_out(folders[split], endings, np.concatenate(sharing))))
    return tuple(sentences)


def some(names: np.ndarray) -> str:
    """How many names there are, and the first of them."""
    first = ", ".join(printable(os.fsdecode(name)) for name in names[:NAMED].tolist())
    return f"{len(names):,} files ({first}{', ...' if len(names) > NAMED else ''})"


def refuse_shared(place: Path, splits: Mapping[str, np.ndarray], validation: str = "validation") -> None:
    """Makes sure that nothing is scored on what was trained on.

    Raises:
        InputError: an id is in `validation` and in another of the splits.
    """
    for split, ids in splits.items():
        shared = np.intersect1d(ids, splits[validation])
        if split != validation and len(shared):
            raise InputError(
                f"{place}: {shared[0].decode()}: this id is in {split} and in {validation}; restore the original lists"
            )


def row(ids: np.ndarray, image_id: str) -> int:
    """Where an id stands in sorted ids.

    Raises:
        KeyError: it does not.
    """
    position = int(np.searchsorted(ids, image_id.encode()))
    if position == len(ids) or ids[position] != image_id.encode():
        raise KeyError(image_id)
    return position
