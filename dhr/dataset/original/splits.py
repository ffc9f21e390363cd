"""Ids of splits: from folders, each in one split only, and back to their row."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dhr.dataset.original.interface import ids_array
from dhr.errors import InputError


def stems(folder: Path, suffix: str) -> np.ndarray:
    """(N) bytes, sorted: ids of the files of a folder that end with `suffix`.

    Raises:
        InputError: no such file, or a name that is no id.
    """
    return ids_array((path.stem for path in folder.glob(f"*{suffix}")), folder)


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


def row(ids: np.ndarray, id: str) -> int:
    """Where an id stands in sorted ids.

    Raises:
        KeyError: it does not.
    """
    position = int(np.searchsorted(ids, id.encode()))
    if position == len(ids) or ids[position] != id.encode():
        raise KeyError(id)
    return position
