"""The look at every file of a training set before anything is built: a bad file must not stop a run after hours."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from dhr.artifacts import read_image
from dhr.dataset.reader import MaskFolder, PictureDataset, Split
from dhr.errors import InputError
from dhr.progress import progress
from dhr.uss.store import FeatureStore

SHOWN = 5  # bad files named in one message
T = TypeVar("T")


@dataclass(frozen=True)
class TrainingFiles:
    """What a training needs of each image besides its tags."""

    split: Split
    wss_masks: MaskFolder | None
    features: FeatureStore | None

    def tagged(self) -> np.ndarray:
        """Positions of the images that have tags, after every file was opened once.

        Raises:
            InputError: names the first bad files with their cures, or says that no image has a tag.
        """
        ids = [self.split.id(position) for position in range(len(self.split))]
        positions = np.flatnonzero(_look_at_all(self._look, ids, f"checking {self.split.name}"))
        if not len(positions):
            raise InputError(
                f"{self.split.layout.split(self.split.name)}/xml: no image has a tag; nothing can be learnt"
            )
        return positions

    def _look(self, id: str) -> bool:
        size = read_image(self.split.layout.image(self.split.name, id)).shape[:2]
        if self.wss_masks is not None:
            self.wss_masks.read(id, (size[0], size[1]))
        if self.features is not None:
            self.features.look(id)
        return bool(self.split.tags(id).any())


def check_pictures(pictures: PictureDataset) -> None:
    """Opens every image to validate on, and its human mask, once.

    Raises:
        InputError: names the first bad files with their cures.
    """

    def look(position: int) -> bool:
        return len(pictures[position].id) > 0

    _look_at_all(look, range(len(pictures)), f"checking {pictures.split.name}")


def _look_at_all(look: Callable[[T], bool], items: Sequence[T], title: str) -> list[bool]:
    """What `look` says of every item; all InputErrors as one, which shows the first of them."""
    with ThreadPoolExecutor() as pool:
        results = list(progress(pool.map(_message(look), items), title, total=len(items)))
    problems = [str(result) for result in results if isinstance(result, InputError)]
    if problems:
        rest = f"\n... and {len(problems) - SHOWN} more bad files" if len(problems) > SHOWN else ""
        raise InputError("\n".join(problems[:SHOWN]) + rest)
    return [result is True for result in results]


def _message(look: Callable[[T], bool]) -> Callable[[T], bool | InputError]:
    """`look`, but giving an InputError back instead of raising it, so that all bad files can be named."""

    def caught(item: T) -> bool | InputError:
        try:
            return look(item)
        except InputError as error:
            return error

    return caught
