"""One example of a download, checked and put into our layout. Runs in processes of its own; imports no torch."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from dhr.core.errors import InputError
from dhr.core.labels import IGNORE
from dhr.dataset.classes import ClassTable
from dhr.dataset.original.interface import Example, Original
from dhr.dataset.original.layout import LaidOut
from dhr.dataset.original.masks import IndexPng, histogram
from dhr.dataset.original.regions import RegionMask
from dhr.dataset.prepare.plain import Plain, as_it_is, as_plain, smaller
from dhr.dataset.spread import spread
from dhr.disk.annotation import read_tags, tags_text
from dhr.disk.atomic import write_atomically
from dhr.disk.file_names import printable
from dhr.disk.layout import DataLayout
from dhr.disk.manifest import Entry, FileMark
from dhr.disk.mask import encode_mask
from dhr.disk.reading import AGAIN, read_file
from dhr.disk.stated import LONGEST
from dhr.disk.writing import UnwritableError, writing

CURE = "unpack the original download completely"
Transfer = Literal["link", "copy"]


@dataclass(frozen=True)
class Placement:
    """What is the same for all images of a download.

    Attributes:
        original: the opened download.
        layout: where its images belong.
        table: our classes.
        transfer: "link" for hard links, or symbolic ones where the originals are on another disk; "copy" for copies.
        staging: folder of unpacked archives, which is gone afterwards: nothing may point into it.
        limit: so many images of every split, spread evenly over its ids; None for all.
        longest: side in pixels that larger images of the user's own are brought down to; None for none.
    """

    original: Original
    layout: DataLayout
    table: ClassTable
    transfer: Transfer
    staging: Path
    limit: int | None = None
    longest: int | None = None

    def ids(self, split: str) -> np.ndarray:
        """(N) bytes, sorted: the images that are to be in a split."""
        whole = self.original.splits[split]
        return whole if self.limit is None else whole[spread(len(whole), self.limit)]

    def limit_of(self, split: str) -> int | None:
        """The limit, where the download has more images than that."""
        return self.limit if self.limit is not None and self.limit < len(self.original.splits[split]) else None

    @property
    def in_place(self) -> bool:
        """Whether the data lie where they belong already."""
        return isinstance(self.original, LaidOut) and self.original.root.resolve() == self.layout.home.resolve()

    def place(self, split: str, image_id: str) -> Entry:
        """Puts one image, its mask and its tags in their places; files that are there and equal stay.

        Raises:
            InputError: an original is missing or unreadable, image and mask differ in size, a label or tag is unknown,
                or another file has the place already.
        """
        example = self.original.example(split, image_id)
        data = read_file(example.image, "image", absent="this image is missing", cure=CURE)
        plain = as_it_is(data, example.image) if example.is_plain else as_plain(data, example.image, self.longest)
        mask = _mask(example, plain)
        labels = None if mask is None else self._labels(example, mask)
        tags, tags_from = self._tags(example, labels)
        mask_mark = None if mask is None else self._place_mask(example, mask, self.layout.mask(split, image_id))
        annotation, text = self.layout.tags(split, image_id), tags_text(image_id, plain.size, tags)
        stated_anew = tags_from == "download" and annotation.exists() and annotation.read_bytes() != text
        if tags_from != "nowhere" and (stated_anew or not annotation.exists()):
            write_atomically(annotation, text, durable=False)
        # The image comes last, because a split is the list of its images.
        image = self.layout.image(split, image_id)  # an existing file keeps its ending, so that an id has one file
        if not image.exists():
            image = image.with_name(f"{image_id}{plain.ending}")
        place = self._place_file if plain.data is data else self._place_data
        image_mark = place(example.image, plain.data, image)
        renamed = not example.is_plain and (plain.data is not data or image.stem != example.image.stem)
        original = printable(example.image.name)[-LONGEST:] if renamed else None
        return Entry(image_id, plain.size, tags, labels, image_mark, mask_mark, tags_from, original)

    def _labels(self, example: Example, mask: np.ndarray) -> dict[int, int]:
        """Pixels of every label in a mask."""
        labels = histogram(mask)
        wrong = [label for label in labels if self.table.num_classes <= label != IGNORE]
        if wrong:
            raise InputError(
                f"{example.mask and example.mask.file}: label {wrong[0]}: {self.table.name} has classes 0 to "
                f"{self.table.num_classes - 1} and {IGNORE} for pixels to ignore; fetch this mask again"
            )
        return labels

    def _tags(self, example: Example, labels: dict[int, int] | None) -> tuple[tuple[str, ...], str]:
        names = self.table.names[self.table.first_tag :]
        if example.annotation is not None:
            return tuple(read_tags(example.annotation, names)), "xml"
        if example.tags is not None:
            return tuple(name for name in names if name in example.tags), "download"
        if labels is None:
            return (), "nowhere"
        return tuple(self.table.names[at] for at in sorted(labels) if self.table.first_tag <= at != IGNORE), "mask"

    def _place_mask(self, example: Example, mask: np.ndarray, place: Path) -> FileMark:
        """A mask of our class indices is taken as it is, any other is written."""
        if isinstance(example.mask, IndexPng):
            return self._place_file(example.mask.file, example.mask.file.read_bytes(), place)
        data = encode_mask(mask, self.table.palette)
        return self._place_data(example.mask.file if example.mask else place, data, place)

    def _place_data(self, original: Path, data: bytes, place: Path) -> FileMark:
        """Writes what was made of a file."""
        if not place.exists():
            write_atomically(place, data, durable=False)
        elif place.read_bytes() != data:
            raise _occupied(place, original)
        return FileMark.of(data)

    def _place_file(self, original: Path, data: bytes, place: Path) -> FileMark:
        """Links or copies a file whose content is `data`."""
        if place.exists():
            if not original.samefile(place) and place.read_bytes() != data:
                raise _occupied(place, original)
        elif self.transfer == "copy" or not self._link(original, place):
            write_atomically(place, data, durable=False)
        return FileMark.of(data)

    def _link(self, original: Path, place: Path) -> bool:
        """A hard link, else a symbolic one; False where neither is possible."""
        with writing(place):
            place.parent.mkdir(parents=True, exist_ok=True)
        resolved = original.resolve()
        try:
            os.link(resolved, place)
            return True
        except OSError:  # another disk, or a file system without hard links
            if resolved.is_relative_to(self.staging.resolve()):
                return False
        try:
            os.symlink(resolved, place)
        except OSError:
            return False
        return True


def _mask(example: Example, plain: Plain) -> np.ndarray | None:
    """(H,W) class indices in the size of the image as it is placed; None without a mask."""
    if example.mask is None:
        return None
    if isinstance(example.mask, RegionMask):  # painted in the size that is stated, whatever that is
        _refuse_other_size(example, example.mask.size, plain.whole)
    mask = example.mask.read()
    _refuse_other_size(example, mask.shape, plain.whole)
    return mask if plain.size == plain.whole else smaller(mask, plain.size)


def _refuse_other_size(example: Example, shape: tuple[int, ...], size: tuple[int, int]) -> None:
    if shape != size:
        file = example.mask and example.mask.file
        raise InputError(f"{file}: size {shape}: its image {example.image} has {size} (height, width); {AGAIN}")


def _occupied(place: Path, original: Path) -> InputError:
    return InputError(
        f"{place}: differs from what {original} gives; move the folder {place.parent.parent} away, or prepare from the "
        "download it was made from"
    )


_JOBS: list[tuple[Placement, str]] = []  # in a process of a pool: the work that it was started for


def remember(job: Placement, split: str) -> None:
    """Sets the work of this process, so that it is not sent again with every image."""
    _JOBS.append((job, split))


def place_remembered(ids: np.ndarray) -> list[Entry | InputError]:
    """`place_all` for the work of this process."""
    return place_all(*_JOBS[-1], ids)


def place_all(job: Placement, split: str, ids: np.ndarray) -> list[Entry | InputError]:
    """Places some images; the error of a broken one is returned, so that it does not hold up the others."""
    return [_place(job, split, image_id.decode()) for image_id in ids]


def _place(job: Placement, split: str, image_id: str) -> Entry | InputError:
    try:
        return job.place(split, image_id)
    except UnwritableError:
        raise  # the disk refuses every image, not only this one
    except InputError as error:
        return error
    except OSError as error:
        if error.filename is None:
            raise
        raise InputError(
            f"{error.filename}: {error.strerror}; what is done stays, run it again after mending"
        ) from None
