"""The look at every file of a training set before anything is built: a bad file must not stop a run after hours."""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from dhr.core.errors import InputError
from dhr.dataset.split import MaskFolder, PictureDataset, Split
from dhr.disk.feature_store import FeatureStore
from dhr.disk.image import read_image
from dhr.disk.manifest import Manifest, is_in_place
from dhr.disk.products import Products
from dhr.runtime.progress import progress

SHOWN = 5  # bad files named in one message
T = TypeVar("T")
log = logging.getLogger("dhr.dataset")


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
        sizes, channels = known_sizes(self.split), self._channels()
        stores = [store for store in (self.wss_masks, self.features) if store is not None]
        products = [(store.path, Products.at(store.folder, store.cure)) for store in stores]
        for _, made in products:
            made.check_settings()

        def look(position: int) -> bool:
            size, image_id = None if sizes is None else tuple(sizes[position].tolist()), self.split.id(position)
            tagged = self._look(image_id, size, channels)
            for path, made in products:
                made.check(path(image_id))
            return tagged

        tagged = _look_at_all(look, range(len(self.split)), f"checking {self.split.name}")
        for _, made in products:
            made.remember()
        positions = np.flatnonzero(tagged)
        if not len(positions):
            raise InputError(
                f"{self.split.layout.split(self.split.name)}/xml: no image has a tag; nothing can be learnt"
            )
        lacking = len(tagged) - len(positions)
        if lacking:
            message = f"{self.split.name}: {lacking} of {len(tagged)} images have no tag and are left out"
            from pytorch_lightning.utilities.rank_zero import rank_zero_only  # seconds, which only trainings have

            rank_zero_only(log.info)(message)
        return positions

    def _channels(self) -> int | None:
        """Channels of the first whole feature file of the split, None where there is none."""
        for position in range(0 if self.features is None else len(self.split)):
            try:
                return self.features.look(self.split.id(position))[0]  # type: ignore[union-attr]
            except InputError:
                continue  # reported when this file is looked at
        return None

    def _look(self, image_id: str, size: tuple[int, int] | None, channels: int | None) -> bool:
        if size is None:
            height, width = read_image(self.split.layout.image(self.split.name, image_id)).shape[:2]
            size = height, width
        if self.wss_masks is not None:
            self.wss_masks.look(image_id, size)
        if self.features is not None:
            self.features.look(image_id, size, channels=channels)
        return bool(self.split.tags(image_id).any())


def known_sizes(split: Split) -> np.ndarray | None:
    """(N,2) height and width of every image from the manifest, so that none has to be decoded again.

    None where there is no manifest, or an image or mask is not as long as it says: then every file has to be opened.
    """
    manifest = Manifest.open(split.layout.split(split.name))
    if manifest is None or manifest.header.images != len(split):
        return None
    sizes = np.zeros((len(split), 2), np.int32)
    for position, entry in enumerate(manifest):
        if entry.id != split.id(position) or not is_in_place(entry, split.layout, split.name):
            return None
        sizes[position] = entry.size
    return sizes


def scored_ids(split: Split) -> tuple[str, ...]:
    """The images of a split that is scored on, none where it has no human masks at all, after a look at every file.

    Raises:
        InputError: some of the human masks are missing, or a file is broken.
    """
    ids = tuple(split.all_ids())
    lacking = [image_id for image_id in ids if not split.truths.path(image_id).exists()]
    if len(lacking) == len(ids):
        return ()
    if lacking:
        missing = f"this human mask is missing, {len(lacking)} of {len(ids)} are"
        raise InputError(f"{split.truths.path(lacking[0])}: {missing}; restore them, or take all masks away")
    check_pictures(PictureDataset(split, ids, with_truth=True))
    return ids


def check_pictures(pictures: PictureDataset) -> None:
    """Opens every image to validate on, and its human mask, once, unless prepare did so and nothing changed.

    Raises:
        InputError: names the first bad files with their cures.
    """
    if known_sizes(pictures.split) is not None:
        return

    def look(position: int) -> bool:
        split, image_id = pictures.split, pictures.ids[position]
        height, width = read_image(split.layout.image(split.name, image_id)).shape[:2]
        if pictures.with_truth:
            split.truths.look(image_id, (height, width))
        return True

    _look_at_all(look, range(len(pictures)), f"checking {pictures.split.name}")


def _look_at_all(look: Callable[[T], bool], items: Sequence[T], title: str) -> list[bool]:
    """The result of `look` for every item; all InputErrors become one, which shows the first of them."""

    def caught(item: T) -> bool | InputError:
        try:
            return look(item)
        except InputError as error:
            return error

    with ThreadPoolExecutor() as pool:
        results = list(progress(pool.map(caught, items), title, total=len(items)))
    problems = [str(result) for result in results if isinstance(result, InputError)]
    if problems:
        rest = f"\n... and {len(problems) - SHOWN} more bad files" if len(problems) > SHOWN else ""
        raise InputError("\n".join(problems[:SHOWN]) + rest)
    return [result is True for result in results]


def refuse_no_truth(split: Split, ids: Sequence[str]) -> None:
    """Refuses images without a human mask: left out of the score, they would make it one of another split.

    Raises:
        InputError: names the folder if it has none at all, else the first ids.
    """
    folder = split.truths.folder
    lacking = [image_id for image_id in ids if not split.truths.path(image_id).exists()]
    if len(lacking) == len(ids):
        raise InputError(
            f"{folder}: no human mask of split {split.name}, so there is nothing to score against; "
            "put them there, or score a split that has them with split=<name>"
        )
    if lacking:
        first = ", ".join(lacking[:SHOWN])
        raise InputError(
            f"{folder}: {len(lacking)} of {len(ids)} human masks are missing ({first}); "
            "restore them, or take their images out of the split"
        )
