"""What a reader of an original download says: which images there are, and how mask and tags of each are made.

A reader is one file of this folder and one line in the YAML file of its data set. It looks at names, lists and indices
only; decoding, checking and writing are the same for all downloads and stand in `dhr/dataset/prepare/preparer.py`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np

from dhr.core.errors import InputError
from dhr.disk.file_names import IDS, SAFE_ID, printable

SHOWN = 80  # letters of a name in a message
PICTURES = "*.jpg or *.jpeg"  # what a folder of pictures holds
ENDING = re.compile(r"(?<=\*\.)[a-z]+")


class MaskSource(Protocol):
    """How the mask of one image is made from original files."""

    @property
    def file(self) -> Path:
        """The file it is read from, for messages and to see whether it is there."""
        ...

    def read(self) -> np.ndarray:
        """(H,W) uint8 class indices of our class table, IGNORE allowed.

        Raises:
            InputError: missing, unreadable, or a label that the download cannot hold.
        """
        ...


@dataclass(frozen=True)
class Example:
    """One image of a download.

    Attributes:
        id: file name in our layout, without ending.
        image: original file.
        mask: how its mask is made, None where there is none, as in a test split.
        annotation: VOC style XML with its tags, None where there is none.
        tags: class names that the download states in another way, None where it does not.
        is_plain: whether the image has to be as our reader wants it; False: it is converted where it is not.
    """

    id: str
    image: Path
    mask: MaskSource | None
    annotation: Path | None = None
    tags: tuple[str, ...] | None = None
    is_plain: bool = True


class Original(Protocol):
    """One opened download. It is sent to other processes once, so it holds arrays, never an object per image.

    Attributes:
        splits: split of our layout -> (N) array of ids as bytes, sorted, each once.
        remarks: what the user has to know, such as which of several forms was read. Other remarks make a split anew.
        left_out: sentences on the files that are not taken.
        names: class order of the masks where several are in use, None where there is one.
    """

    @property
    def splits(self) -> Mapping[str, np.ndarray]: ...

    @property
    def remarks(self) -> tuple[str, ...]: ...

    @property
    def left_out(self) -> tuple[str, ...]: ...

    @property
    def names(self) -> tuple[str, ...] | None: ...

    def example(self, split: str, image_id: str) -> Example:
        """Where the files of one image lie; does not open them."""
        ...


@dataclass(frozen=True)
class Roots:
    """Folders that one argument of prepare stands for: the folder given, and the unpacked archives in it.

    Attributes:
        argument: as typed, such as "source: /data/coco", for messages.
        folders: where to look, in this order.
    """

    argument: str
    folders: tuple[Path, ...]

    def find(self, *names: str, holding: str = "*") -> Path | None:
        """First folder `<root>/<name>` with an entry that matches `holding`; earlier names first.

        `holding` is a glob, or several with " or " between them; endings behind a star may be in any case.
        """
        globs = [ENDING.sub(_any_case, pattern) for pattern in holding.split(" or ")]
        for name in names:
            for root in self.folders:
                if (root / name).is_dir() and any(any((root / name).glob(pattern)) for pattern in globs):
                    return root / name
        return None

    def need(self, *names: str, holding: str = "*", cure: str) -> Path:
        """As `find`.

        Raises:
            InputError: there is no such folder; the message ends with `cure`.
        """
        folder = self.find(*names, holding=holding)
        if folder is None:
            raise InputError(f"{self.argument}: no folder {names[0]} with {holding} in it; {cure}")
        return folder

    def file(self, *names: str) -> Path | None:
        """First file `<root>/<name>`; earlier names first."""
        return next((root / name for name in names for root in self.folders if (root / name).is_file()), None)


def _any_case(ending: re.Match[str]) -> str:
    return "".join(f"[{letter}{letter.upper()}]" for letter in ending[0])


@dataclass(frozen=True)
class Brought:
    """Images of the user's own, and what says which classes they show; None where nothing.

    Attributes:
        tags: file or folder, see `dhr.disk.tag_files`.
        masks: folder of PNGs of class indices.
        classes: names with commas between them, or a file with a name a line.
        validation: share of the images, or a file that lists them.
    """

    tags: Path | None = None
    masks: Path | None = None
    classes: str | None = None
    validation: str | None = None


@dataclass(frozen=True)
class Given:
    """What the user gave to prepare; None where nothing. `brought` is beside images of the user's own, the source."""

    source: Roots
    sbd: Roots | None = None
    aug: Roots | None = None
    class_order: str | None = None
    brought: Brought | None = None


class Download(Protocol):
    """The form in which one data set is downloaded; named by `dataset.download` in its YAML file.

    Attributes:
        takes: optional arguments of `Given` that it makes use of.
    """

    takes: ClassVar[frozenset[str]]

    def open(self, given: Given) -> Original:
        """Looks at lists and folders.

        Raises:
            InputError: something is missing or of another form.
        """
        ...


def read_ids(path: Path) -> np.ndarray:
    """Reads a list of ids, one per line: (N) bytes, sorted.

    Raises:
        InputError: no such file, an empty list, an id that is none or occurs twice.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such list of ids; unpack the original download completely")
    lines = (line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
    return ids_array((line for line in lines if line), path)


def ids_array(ids: Iterator[str], place: Path) -> np.ndarray:
    """(N) bytes, sorted; `place` is where the ids stand, for messages.

    Raises:
        InputError: no id, one that is none, or one that occurs twice.
    """

    def checked() -> Iterator[bytes]:
        for image_id in ids:
            if not SAFE_ID.fullmatch(image_id):
                shown = printable(image_id[:SHOWN])
                raise InputError(f"{place}: '{shown}': not an id; rename its files and restore the lists: {IDS}")
            yield image_id.encode()

    array = np.sort(np.array(list(checked()), dtype=np.bytes_))
    if not len(array):
        raise InputError(f"{place}: no id in it; unpack the original download again")
    twice = array[1:][array[1:] == array[:-1]]
    if len(twice):
        raise InputError(f"{place}: {twice[0].decode()}: this id stands there twice; remove one of the two")
    return array
