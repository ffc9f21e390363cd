"""Crops of unlabelled images, and the order in which a training stage sees them."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Annotated, Literal, NamedTuple

import numpy as np
import torch
from annotated_types import Gt, Le
from torch import Tensor
from torch.utils.data import Dataset, Sampler
from torchvision.transforms.v2 import functional

from dhr.core.colour import normalise
from dhr.core.errors import InputError
from dhr.core.ranges import Side
from dhr.dataset.split import Split
from dhr.dataset.transforms import keyed_random

BLOCK = 500  # steps between two checkpoints; Lightning takes such a block for an epoch
PLACES = 5  # of a five-crop: the corners and the centre
Ratio = Annotated[float, Gt(0), Le(1)]  # of the shorter side of an image


class UnlabelledCrop(NamedTuple):
    """A crop (3,S,S) normalised, or several stacked; `key` seeds all random numbers that belong to it."""

    image: Tensor
    key: Tensor


class Pair(NamedTuple):
    """A crop and one that looks like it."""

    own: UnlabelledCrop
    other: UnlabelledCrop


@dataclass(frozen=True)
class Crops:
    """How square crops are cut from an image, without any photometric change.

    Attributes:
        resolution: side of a crop in pixels, rounded up to a multiple of the patch.
        ratios: smallest and largest side of a crop, as a share of the shorter side of its image.
        places: "five" are the corners and the centre, with one ratio per image, the same in every epoch; "random" is
            one crop, drawn anew in every epoch.
    """

    resolution: Side = 320
    ratios: tuple[Ratio, Ratio] = (0.3, 0.7)
    places: Literal["five", "random"] = "five"

    def __post_init__(self) -> None:
        if self.ratios[0] > self.ratios[1]:
            raise InputError(f"crops.ratios: {list(self.ratios)}: not in order; write {list(self.ratios)[::-1]}")

    @property
    def per_image(self) -> int:
        """Crops of an image in an epoch."""
        return PLACES if self.places == "five" else 1

    def side(self, patch: int) -> int:
        """Side of a crop in pixels, for a model of this patch size."""
        return -(-self.resolution // patch) * patch

    def box(self, size: tuple[int, int], place: int, random: Random) -> tuple[int, int, int]:
        """Top, left and side of a crop of an image of `size` (height, width).

        Args:
            size: of the image.
            place: 0 to 3 for the corners, 4 for the centre, of the five; ignored for random places.
            random: source of the random numbers.
        """
        low, high = self.ratios
        side = max(round(random.uniform(low, high) * min(size)), 1)
        spare = (size[0] - side, size[1] - side)
        if self.places == "random":
            top, left = (random.randint(0, room) for room in spare)
            return top, left, side
        down, right = ((0, 0), (0, 1), (1, 0), (1, 1), (0.5, 0.5))[place]
        return round(spare[0] * down), round(spare[1] * right), side


@dataclass(frozen=True)
class UnlabelledCropDataset(Dataset[UnlabelledCrop]):
    """Crops of a split; item (epoch, position) is the same whatever the order, the worker or the rank that asks."""

    split: Split
    crops: Crops
    side: int
    seed: int

    def __len__(self) -> int:
        return len(self.split) * self.crops.per_image

    def __getitem__(self, item: tuple[int, int]) -> UnlabelledCrop:
        """`item` is (epoch, position)."""
        epoch, position = item
        image, place = divmod(position, self.crops.per_image)
        image_id = self.split.id(image)
        pixels = self.split.pixels(image_id)
        random = keyed_random(self.seed, epoch if self.crops.places == "random" else 0, image_id)
        top, left, side = self.crops.box((pixels.shape[-2], pixels.shape[-1]), place, random)
        cut = functional.resized_crop(
            pixels, top, left, side, side, [self.side, self.side], functional.InterpolationMode.BICUBIC, antialias=True
        )
        key = zlib.crc32(repr((self.seed, epoch, image_id, place)).encode())
        return UnlabelledCrop(normalise(cut), torch.tensor(key))


@dataclass(frozen=True)
class PairDataset(Dataset[Pair]):
    """Each crop with one of its nearest neighbours, whose rank depends on the crop and the epoch alone."""

    views: UnlabelledCropDataset
    nearest: Tensor

    def __len__(self) -> int:
        return len(self.views)

    def __getitem__(self, item: tuple[int, int]) -> Pair:
        """`item` is (epoch, position)."""
        epoch, position = item
        own = self.views[epoch, position]
        rank = keyed_random("neighbour", int(own.key)).randrange(self.nearest.shape[1])
        return Pair(own, self.views[epoch, int(self.nearest[position, rank])])


@dataclass(frozen=True)
class Length:
    """How long a stage lasts, in steps of all processes together."""

    steps: int
    steps_per_epoch: int

    @classmethod
    def of(cls, steps_per_epoch: int, *, epochs: int | None, steps: int | None) -> "Length":
        """The shorter of `epochs` and `steps`, one of which has to be a number."""
        limits = [steps, None if epochs is None else epochs * steps_per_epoch]
        return cls(min(limit for limit in limits if limit is not None), steps_per_epoch)

    @property
    def blocks(self) -> int:
        """Number of blocks, the last of which may be shorter."""
        return -(-self.steps // BLOCK)


class BlockSampler(Sampler[tuple[int, int]]):
    """Yields (epoch, position) of the crops of one block of steps; ranks take turns.

    A block is an epoch to Lightning, which writes a checkpoint after it: so a stage whose only epoch takes hours can
    be stopped, and continues with the next step. `batch_size` is that of all ranks together.
    """

    def __init__(self, size: int, length: Length, *, batch_size: int, seed: int, rank: int, ranks: int) -> None:
        self.size = size
        self.length = length
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.ranks = ranks
        self.block = 0
        self.done = (0, 0)

    def set_epoch(self, block: int) -> None:
        """Sets the block; the trainer calls it at the start of every block, also of a continued training."""
        self.block = block

    def skip(self, block: int, steps: int) -> None:
        """Leaves out the first `steps` of a block, which are done already."""
        self.done = (block, steps)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        size, epoch_of_order, order = self.batch_size, -1, np.zeros(0, np.int64)
        block, steps = self.done
        for step in self._steps()[steps if block == self.block else 0 :]:
            epoch, within = divmod(step, self.length.steps_per_epoch)
            if epoch != epoch_of_order:
                epoch_of_order, order = epoch, np.random.default_rng((self.seed, epoch)).permutation(self.size)
            batch = order[within * size : (within + 1) * size]
            yield from ((epoch, int(position)) for position in batch[self.rank :: self.ranks])

    def __len__(self) -> int:
        return len(self._steps()) * (self.batch_size // self.ranks)

    def _steps(self) -> range:
        return range(self.block * BLOCK, min((self.block + 1) * BLOCK, self.length.steps))
