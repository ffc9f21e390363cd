"""Torch data sets over the folders of one split."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dhr.core.errors import InputError
from dhr.core.labels import IGNORE
from dhr.core.sample import Sample
from dhr.core.window import Window
from dhr.dataset.classes import ClassTable
from dhr.dataset.colours import MaskColours
from dhr.dataset.transforms import TrainTransform, keyed_random
from dhr.disk.annotation import read_tags
from dhr.disk.feature_store import FeatureStore
from dhr.disk.image import read_image
from dhr.disk.layout import DataLayout
from dhr.disk.manifest import JOURNAL
from dhr.disk.mask import read_mask


@dataclass(frozen=True)
class Split:
    """One split of one data set: where its files lie, what its classes mean, which images it has.

    `ids` is an array of fixed-width bytes: a hundred thousand ids are one object, not a hundred thousand.
    """

    layout: DataLayout
    name: str
    table: ClassTable
    ids: np.ndarray

    @classmethod
    def open(cls, layout: DataLayout, name: str, table: ClassTable) -> "Split":
        """The split as it lies on disk.

        Raises:
            InputError: the folder is missing or empty, or prepare was interrupted in it.
        """
        journal = layout.split(name) / JOURNAL
        if journal.exists():
            raise InputError(f"{journal}: prepare was interrupted here, images are missing; run the same command again")
        return cls(
            layout=layout,
            name=name,
            table=table,
            ids=np.array([image_id.encode() for image_id in layout.ids(name)], dtype=np.bytes_),
        )

    def __len__(self) -> int:
        return len(self.ids)

    def id(self, index: int) -> str:
        """Id of an image."""
        return bytes(self.ids[index]).decode()

    def all_ids(self) -> list[str]:
        """Ids of all images, in their order."""
        return [bytes(image_id).decode() for image_id in self.ids]

    def pixels(self, image_id: str) -> Tensor:
        """(3,H,W) uint8 RGB."""
        return torch.from_numpy(read_image(self.layout.image(self.name, image_id)).copy()).permute(2, 0, 1)

    def tags(self, image_id: str) -> Tensor:
        """(T) float 0/1."""
        names = read_tags(self.layout.tags(self.name, image_id), self.table.names[self.table.first_tag :])
        present = set(names)
        return torch.tensor([float(name in present) for name in self.table.names[self.table.first_tag :]])

    @property
    def truths(self) -> "MaskFolder":
        """The human masks, checked against image and classes when they are read."""
        cure = "restore the human mask, or take its image out of the split"
        folder = self.layout.split(self.name) / "mask"
        return MaskFolder(folder, self.table.num_classes, cure, "human mask", self.colours)

    @cached_property
    def colours(self) -> MaskColours:
        """What the palettes of its masks are compared with."""
        return MaskColours.of(self.table)


@dataclass(frozen=True)
class MaskFolder:
    """Masks of one split: <folder>/<id>.png.

    Attributes:
        folder: where they lie.
        num_classes: labels are below it, or IGNORE.
        cure: what to do if a mask is wrong, in messages.
        what: kind of mask, in messages.
        colours: what their palettes are compared with, None where these are not compared.
    """

    folder: Path
    num_classes: int
    cure: str = "make the masks again"
    what: str = "WSS mask"
    colours: MaskColours | None = None

    def path(self, image_id: str) -> Path:
        """File of one mask."""
        return self.folder / f"{image_id}.png"

    def read(self, image_id: str, size: tuple[int, int]) -> Tensor:
        """(H,W) uint8 mask.

        Raises:
            InputError: missing, unreadable, of another size than the image, or a label out of range.
        """
        return torch.from_numpy(self._checked(image_id, size, read_mask).copy())

    def look(self, image_id: str, size: tuple[int, int]) -> None:
        """Reads a mask and checks it as `read` does, and compares its palette where `colours` are known.

        Raises:
            InputError: as `read`, or the palette shows that labels were renumbered.
        """
        self._checked(image_id, size, read_mask if self.colours is None else self.colours.read)

    def _checked(self, image_id: str, size: tuple[int, int], read: Callable[[Path], np.ndarray]) -> np.ndarray:
        path = self.path(image_id)
        if not path.exists():
            raise InputError(f"{path}: this {self.what} is missing; {self.cure}")
        mask = read(path)
        if mask.shape != tuple(size):
            raise InputError(f"{path}: size {mask.shape}: the image has {tuple(size)} (height, width); {self.cure}")
        wrong = mask[(mask >= self.num_classes) & (mask != IGNORE)]
        if wrong.size:
            raise InputError(
                f"{path}: label {int(wrong[0])}: allowed are 0 to {self.num_classes - 1} and {IGNORE}; "
                "were these masks made for another data set?"
            )
        return mask


@dataclass(frozen=True)
class TrainDataset(Dataset[Sample]):
    """Random crops; item (epoch, index) does not depend on the order, the worker or the rank that reads it.

    `masks_of_epoch` gives the masks to learn in an epoch; without it, every epoch learns `wss_masks`.
    """

    split: Split
    indices: np.ndarray
    wss_masks: MaskFolder | None
    features: FeatureStore | None
    grid: tuple[int, int]
    transform: TrainTransform
    seed: int
    masks_of_epoch: Callable[[int], MaskFolder] | None = None

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        """`key` is (epoch, position); the epoch is part of the random key."""
        epoch, position = key
        image_id = self.split.id(int(self.indices[position]))
        pixels = self.split.pixels(image_id)
        size = (pixels.shape[-2], pixels.shape[-1])
        masks = self.wss_masks if self.masks_of_epoch is None else self.masks_of_epoch(epoch)
        mask = torch.full(size, IGNORE, dtype=torch.uint8) if masks is None else masks.read(image_id, size)
        crop = self.transform(pixels, mask, keyed_random(self.seed, epoch, image_id))
        return Sample(
            id=image_id,
            pixels=crop.pixels,
            tags=self.split.tags(image_id),
            wss_mask=crop.mask,
            window=crop.window,
            jitter=crop.jitter,
            stored_features=None
            if self.features is None
            else crop.window.on_map(self.features.read(image_id), self.grid),
        )


@dataclass(frozen=True)
class Picture:
    """A whole image as prediction sees it: pixels (3,H,W) uint8, truth (H,W) uint8 or None."""

    id: str
    pixels: Tensor
    truth: Tensor | None


@dataclass(frozen=True)
class PictureDataset(Dataset[Picture]):
    """Whole images, with the human mask where `with_truth`."""

    split: Split
    ids: Sequence[str]
    with_truth: bool

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Picture:
        image_id = self.ids[index]
        pixels = self.split.pixels(image_id)
        size = (pixels.shape[-2], pixels.shape[-1])
        return Picture(
            id=image_id, pixels=pixels, truth=self.split.truths.read(image_id, size) if self.with_truth else None
        )


def whole_sample(
    split: Split, image_id: str, *, wss_masks: MaskFolder, features: FeatureStore | None, stride: int
) -> Sample:
    """The whole image as one sample, unaugmented; its feature grid has one cell per `stride` pixels."""
    pixels = split.pixels(image_id)
    size = (pixels.shape[-2], pixels.shape[-1])
    window = Window.whole(size)
    grid = (max(size[0] // stride, 1), max(size[1] // stride, 1))
    return Sample(
        id=image_id,
        pixels=pixels,
        tags=split.tags(image_id),
        wss_mask=wss_masks.read(image_id, size),
        window=window,
        stored_features=None if features is None else window.on_map(features.read(image_id), grid),
    )
