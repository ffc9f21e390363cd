"""What prepare found out about every image of a split, kept beside it: <data>/<folder>/<split>/manifest.jsonl.

The first line describes the split, every further line one image, sorted by id. With it no later stage has to open a
hundred thousand files to know sizes, tags and labels, and a changed file is noticed.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dhr.core.errors import InputError
from dhr.disk.atomic import write_stream
from dhr.disk.file_names import printable
from dhr.disk.layout import DataLayout
from dhr.disk.stated import counts_of, id_of, lines, mark_of, shown, size_of, text, texts, whole

NAME = "manifest.jsonl"
VERSION = 1
IMAGES = 10**9  # more than any folder holds
SAID = 160  # letters of an error
# What reading a line that is none can raise.
NO_ENTRY = (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError)
ORIGINS = ("xml", "download", "mask", "nowhere")
JOURNAL = ".prepared.jsonl"  # of a split that is being written, or whose writing was interrupted


@dataclass(frozen=True)
class FileMark:
    """Length in bytes and digest (BLAKE2b, 16 bytes, hexadecimal) of a file."""

    length: int
    digest: str

    @classmethod
    def of(cls, data: bytes) -> "FileMark":
        """Mark of a file's content."""
        return cls(len(data), hashlib.blake2b(data, digest_size=16).hexdigest())


@dataclass(frozen=True)
class Entry:
    """One image.

    Attributes:
        id: file name without ending.
        size: (height, width) in pixels.
        tags: class names the image is tagged with, in class order.
        labels: class index -> number of pixels in the mask, IGNORE included; None without a mask.
        image: mark of the image file.
        mask: mark of the mask file, None without one.
        tags_from: where the tags come from: "xml", "download" (it states them in another way), "mask" or "nowhere".
        original: name of the user's file where the image is called otherwise or was converted, else None.
    """

    id: str
    size: tuple[int, int]
    tags: tuple[str, ...]
    labels: Mapping[int, int] | None
    image: FileMark
    mask: FileMark | None
    tags_from: str = "xml"
    original: str | None = None

    def line(self) -> str:
        """The entry as one line of JSON."""
        values: dict[str, Any] = {"id": self.id, "size": self.size, "tags": self.tags}
        values["labels"] = self.labels  # JSON turns the keys into text
        values["image"] = (self.image.length, self.image.digest)
        values["mask"] = self.mask and (self.mask.length, self.mask.digest)
        values["tags_from"] = self.tags_from
        values.update({} if self.original is None else {"original": self.original})
        return json.dumps(values, separators=(",", ":"))

    @classmethod
    def parse(cls, line: bytes) -> "Entry":
        """The entry of a line.

        Raises:
            NO_ENTRY: the line is not one, or states what no image can have: an id that leads out of the folder, more
                pixels than are ever decoded, labels that do not sum up to the size.
        """
        values = json.loads(line)
        size, labels, mask = size_of(values["size"]), values["labels"], values["mask"]
        if values["tags_from"] not in ORIGINS:
            raise ValueError(f"tags from {shown(values['tags_from'])}")
        return cls(
            id=id_of(values["id"]),
            size=size,
            tags=texts(values["tags"]),
            labels=None if labels is None else counts_of(labels, size[0] * size[1]),
            image=FileMark(*mark_of(values["image"])),
            mask=None if mask is None else FileMark(*mark_of(mask)),
            tags_from=values["tags_from"],
            original=None if values.get("original") is None else text(values["original"]),
        )


@dataclass(frozen=True)
class Header:
    """The first line.

    Attributes:
        dataset: name of the data set.
        split: name of the split.
        images: number of entries.
        tags_from: where the tags come from, with the number of images each.
        recipe: digest of what it was made from; another download has another one.
        names: class names in the order of the masks' labels.
        limit: so many images were asked for, and the download has more; None where all of them are here.
    """

    dataset: str
    split: str
    images: int
    tags_from: Mapping[str, int]
    recipe: str
    names: tuple[str, ...]
    limit: int | None = None

    @classmethod
    def parse(cls, line: bytes) -> "Header":
        """The header of a line.

        Raises:
            NO_ENTRY: the line is not one.
        """
        values = json.loads(line)
        if values["version"] != VERSION:
            raise ValueError("another version")
        return cls(
            dataset=text(values["dataset"]),
            split=text(values["split"]),
            images=whole(values["images"], 0, IMAGES),
            tags_from={text(key): whole(count, 0, IMAGES) for key, count in values["tags_from"].items()},
            recipe=text(values["recipe"]),
            names=texts(values["names"]),
            limit=whole(values["limit"], 1, IMAGES) if "limit" in values else None,
        )


@dataclass(frozen=True)
class Manifest:
    """A manifest on disk; entries are read one at a time, so its memory does not depend on the number of images."""

    path: Path
    header: Header

    @classmethod
    def open(cls, folder: Path) -> "Manifest | None":
        """The manifest of a split's folder, None where there is none.

        Raises:
            InputError: there is one, but it is broken.
        """
        path = folder / NAME
        if not path.is_file():
            return None
        with path.open("rb") as file:
            try:
                return cls(path, Header.parse(next(lines(file), b"")))
            except NO_ENTRY as error:
                raise _broken(path, error) from None

    def __iter__(self) -> Iterator[Entry]:
        """Entries in the order of their ids.

        Raises:
            InputError: a line is broken.
        """
        with self.path.open("rb") as file:
            rest = lines(file)
            next(rest, None)
            while True:
                try:
                    line = next(rest, None)
                    entry = None if line is None else Entry.parse(line)
                except NO_ENTRY as error:
                    raise _broken(self.path, error) from None
                if entry is None:
                    return
                yield entry


def is_in_place(entry: Entry, layout: DataLayout, split: str) -> bool:
    """Whether the files of an entry are there and as long as it says; their content is not read."""
    files = [(layout.image(split, entry.id), entry.image), (layout.mask(split, entry.id), entry.mask)]
    whole = all(mark is None or (path.is_file() and path.stat().st_size == mark.length) for path, mark in files)
    return whole and (entry.tags_from == "nowhere" or layout.tags(split, entry.id).is_file())


def write_manifest(folder: Path, header: Header, entries: Iterable[Entry]) -> None:
    """Writes a manifest, atomically."""

    def lines() -> Iterator[bytes]:
        known = {key: value for key, value in vars(header).items() if value is not None}
        yield (json.dumps({"version": VERSION, **known}) + "\n").encode()
        for entry in entries:
            yield (entry.line() + "\n").encode()

    write_stream(folder / NAME, lines())


def _broken(path: Path, error: Exception) -> InputError:
    reason = printable(f"{type(error).__name__}: {error}"[:SAID])
    return InputError(f"{path}: not a manifest ({reason}); delete it and run python -m dhr.prepare again")
