"""Every file the stages exchange: where it lies, how it is read, and how it is written whole or not at all."""

import contextlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dhr.decoding import XML_BYTES, encode_mask, mask_values, open_image, read_file
from dhr.disk.writing import part_of, writing
from dhr.disk.writing import remove_orphans as remove_orphans
from dhr.errors import InputError
from dhr.file_names import IDS, IMAGES, UNUSABLE, file_of, names_in, printable
from dhr.tags import parse_tags, tags_text

JSON_BYTES = 1 << 26  # of a file that is read as a whole; scores, records and audits have far less


def write_atomically(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Writes `data` to `path` so that a reader sees the old file or the new one, never a part of it.

    Args:
        path: of the file; folders are made.
        data: all of it.
        durable: False does not wait for the disk (some milliseconds a file). A power cut, not a crash, can then leave
            an empty file: only for files whose length and digest are kept elsewhere, as in a manifest.

    Raises:
        UnwritableError: the disk is full or read-only, or something else lies in the way; the old file stays.
    """
    write_stream(path, [data], durable=durable)


def write_stream(path: Path, parts: Iterable[bytes], *, durable: bool = True) -> None:
    """Writes `parts` behind each other to `path`, whole or not at all, also where making them fails.

    Raises:
        UnwritableError: the disk is full or read-only, or something else lies in the way; the old file stays.
    """
    part = Path(part_of(path))
    with writing(path):
        try:
            _write(part, parts, durable=durable)
            os.replace(part, path)
        except BaseException:
            with contextlib.suppress(OSError):
                part.unlink()
            raise


def _write(part: Path, parts: Iterable[bytes], *, durable: bool) -> None:
    try:
        file = open(part, "xb")
    except FileNotFoundError:
        part.parent.mkdir(parents=True, exist_ok=True)
        file = open(part, "xb")
    with file:
        file.writelines(parts)
        if durable:
            file.flush()
            os.fsync(file.fileno())


def write_json(path: Path, value: object) -> None:
    """Writes `value` as indented JSON, atomically."""
    write_atomically(path, (json.dumps(value, indent=1, sort_keys=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Raises:
        InputError: the file is missing or is not JSON, or no file at all, such as a pipe.
    """
    cure = "check the folder or run the stage that writes it"
    data = read_file(path, "JSON", absent="no such file", cure=cure, limit=JSON_BYTES)
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not readable as JSON ({error}); delete it and run its stage again") from None


def read_object(path: Path) -> dict[str, Any]:
    """Reads a JSON file that holds an object.

    Raises:
        InputError: missing, unreadable, or something else than an object.
    """
    value = read_json(path)
    if not isinstance(value, dict):
        raise InputError(f"{path}: {type(value).__name__}: has to be a JSON object; delete it and run its stage again")
    return value


def write_mask(path: Path, mask: np.ndarray, palette: Sequence[Sequence[int]]) -> None:
    """Writes a (H,W) uint8 class-index mask as a palette PNG, atomically."""
    write_atomically(path, encode_mask(mask, palette))


def read_mask(path: Path) -> np.ndarray:
    """Reads a palette or grey PNG as (H,W) uint8 class indices.

    Raises:
        BadFileError: missing, unreadable, too large, or a colour or 16-bit picture instead of an index mask.
    """
    return mask_values(mask_content(path), path)


def mask_content(path: Path) -> bytes:
    """The bytes of a mask's file; nothing is decoded.

    Raises:
        BadFileError: missing, unreadable or too large.
    """
    return _content(path, "mask")


def read_image(path: Path) -> np.ndarray:
    """Reads an image file as (H,W,3) uint8 RGB, as stored: its EXIF orientation is not applied.

    Raises:
        BadFileError: missing, unreadable, too large, or of colours that are not 8-bit RGB or grey.
    """
    picture = open_image(_content(path, "image"), path)
    return np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB"), np.uint8)  # convert would copy


def _content(path: Path, what: str) -> bytes:
    cure = "restore the file or take its id out of the split"
    return read_file(path, what, absent=f"this {what} is missing", cure=cure)


def read_tags(path: Path, names: Sequence[str]) -> list[str]:
    """Class names of the objects in a VOC style annotation, in class order, each once.

    Raises:
        BadFileError: missing, unreadable or oversized XML, or an object of an unknown class.
    """
    cure = "run python -m dhr.prepare for the data set"
    data = read_file(path, "tags", absent="these tags are missing", cure=cure, limit=XML_BYTES)
    return parse_tags(data, path, names)


def write_tags(path: Path, size: tuple[int, int], names: Sequence[str]) -> None:
    """Writes tags in the VOC annotation style, atomically; `size` is (height, width)."""
    write_atomically(path, tags_text(path.stem, size, names))


@dataclass(frozen=True)
class DataLayout:
    """Where the images, masks and tags of one data set lie: <root>/<folder>/<split>/{image,mask,xml}/."""

    root: Path
    folder: str

    @property
    def home(self) -> Path:
        """Folder of the data set."""
        return self.root / self.folder

    def split(self, split: str) -> Path:
        """Folder of a split."""
        return self.home / split

    def image(self, split: str, id: str) -> Path:
        """Path of an image, whatever its ending and the case of that; .jpg where there is none."""
        return file_of(self.split(split) / "image", id, IMAGES)

    def mask(self, split: str, id: str) -> Path:
        """Path of the human mask."""
        return self.split(split) / "mask" / f"{id}.png"

    def tags(self, split: str, id: str) -> Path:
        """Path of the annotation whose object names are the tags."""
        return self.split(split) / "xml" / f"{id}.xml"

    def ids(self, split: str) -> list[str]:
        """Sorted ids of the images of a split, each once.

        Raises:
            InputError: the folder is missing or holds no image, a name is not UTF-8 or has control characters, or two
                images have one id.
        """
        names: dict[str, str] = {}
        for name in self.image_names(split):
            id = os.path.splitext(name)[0]
            if UNUSABLE.search(name) or id in names:
                raise _unusable(self.split(split) / "image" / name, names.get(id))
            names[id] = name
        return sorted(names)

    def image_names(self, split: str) -> list[str]:
        """Sorted names of the images of a split, whether they are usable or not.

        Raises:
            InputError: the folder is missing or holds no image.
        """
        folder = self.split(split) / "image"
        if not folder.is_dir():
            raise InputError(
                f"split={split}: no folder {folder}; make it with python -m dhr.prepare dataset=..., "
                f"or point paths.data (or DHR_DATA) to the folder that holds {self.folder}/"
            )
        names = sorted(names_in(folder, IMAGES))
        if not names:
            raise InputError(f"split={split}: {folder} holds no image; run python -m dhr.prepare again")
        return names


def _unusable(image: Path, other: str | None) -> InputError:
    """Says that an image has no id of its own: because of its name, or because of an `other` image."""
    path = printable(str(image))
    if other is not None:
        return InputError(f"{path}: {other} has the same id; delete one of the two")
    return InputError(
        f"{path}: a name that is not UTF-8, or has control characters, is no id; "
        f"rename the image, its mask and its XML: {IDS}"
    )


@dataclass(frozen=True)
class RunFolder:
    """Names of everything that one training run leaves behind."""

    root: Path

    @property
    def config(self) -> Path:
        """The complete configuration of the run."""
        return self.root / "config.yaml"

    @property
    def record(self) -> Path:
        """What ran, with what, for how long, and whether it finished."""
        return self.root / "run.json"

    @property
    def is_finished(self) -> bool:
        """Whether the run came to its end."""
        return self.record.exists() and read_object(self.record).get("status") == "finished"

    def failed(self, rank: int) -> Path:
        """At which images the run was when an error ended it, as a process saw it."""
        return self.root / f"failed-{rank}.json"

    @property
    def metrics(self) -> Path:
        """Logged scalars over steps."""
        return self.root / "metrics.csv"

    @property
    def checkpoints(self) -> Path:
        """Folder of Lightning checkpoints."""
        return self.root / "checkpoints"

    @property
    def last(self) -> Path:
        """The newest of them."""
        return self.checkpoints / "last.ckpt"

    @property
    def gallery(self) -> Path:
        """Folder of the pictures that training saved for the report."""
        return self.root / "gallery"

    @property
    def report(self) -> Path:
        """The self-contained HTML report."""
        return self.root / "report.html"

    def labels(self, round: int) -> Path:
        """Folder of the labels that training made of all its images in a round, counted from 0."""
        return self.root / "labels" / f"round_{round}"

    def label_scores(self, split: str) -> Path:
        """Scores of labels that several options make of a split; the labels themselves lie in a folder of its name."""
        return self.root / "labels" / f"{split}.json"

    def masks(self, split: str) -> Path:
        """Folder of the predictions of a split."""
        return self.root / "masks" / split

    def scores(self, split: str) -> Path:
        """Scores of the predictions of a split."""
        return self.root / "scores" / f"{split}.json"


def scores_beside(masks: Path, split: str) -> Path:
    """Scores of a folder of masks that belongs to no run, for each folder and split another file beside the folder."""
    folder = Path(os.path.abspath(masks))
    return folder.with_name(f"{split}.scores.json" if folder.name == split else f"{folder.name}.{split}.scores.json")


def update_record(path: Path, values: Mapping[str, object]) -> None:
    """Adds `values` to a JSON object on disk, which is made if it is not there."""
    write_json(path, {**(read_object(path) if path.exists() else {}), **values})
