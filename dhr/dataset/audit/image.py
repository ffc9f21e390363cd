"""The look at one image with its mask and tags, each decoded once. Runs in processes of its own; imports no torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from dhr.core.labels import IGNORE
from dhr.dataset.audit.finding import Finding, Notes
from dhr.dataset.classes import ClassTable
from dhr.dataset.colours import CURE, MaskColours
from dhr.disk.annotation import XML_BYTES, parse_tags
from dhr.disk.image import open_image
from dhr.disk.layout import DataLayout
from dhr.disk.manifest import Entry, FileMark
from dhr.disk.mask import open_mask
from dhr.disk.reading import BROKEN, read_file

ORIENTATION = 0x0112  # EXIF tag: how the image has to be turned to be upright; 1 is not at all
LYING = frozenset({5, 6, 7, 8})  # orientations that swap height and width
TURNED = "mask: turned"
AGAIN = "run python -m dhr.prepare again"
RESTORE = "restore the file, or take its id out of the split"
Size = tuple[int, int]  # (height, width)
Labels = dict[int, int]  # class index, IGNORE included, -> pixels


@dataclass(frozen=True)
class AuditedMasks:
    """Masks of a WSS method for a split: where they lie, and how to get those that are missing."""

    folder: Path
    cure: str


@dataclass(frozen=True)
class Task:
    """One image to look at; `expected` is False where no manifest says what `entry` should be."""

    id: str
    name: str
    entry: Entry | None
    expected: bool


@dataclass(frozen=True)
class ImageAudit:
    """What was seen of one image.

    Attributes:
        id: its id.
        findings: what is wrong.
        digest: of the image file, 0 if it could not be read.
        tags: class indices of its tags, None where there are none to read.
        labels: pixels of every class in its mask, None without a whole mask.
    """

    id: str
    findings: tuple[Finding, ...]
    digest: int
    tags: tuple[int, ...] | None
    labels: Labels | None


@dataclass(frozen=True)
class DecodedImage:
    """A decoded image: its size as stored, and how its EXIF data want it turned."""

    size: Size
    orientation: int


@dataclass(frozen=True)
class ImageAuditor:
    """Looks at the images of one split.

    Attributes:
        layout: where the files lie.
        split: name of the split.
        table: what labels and tags mean.
        has_masks: whether the split has masks at all.
        has_tags: whether the split has annotations at all.
        wss: further masks to look at.
    """

    layout: DataLayout
    split: str
    table: ClassTable
    has_masks: bool
    has_tags: bool
    wss: AuditedMasks | None = None

    @cached_property
    def colours(self) -> MaskColours:
        """What the palettes of the masks are compared with."""
        return MaskColours.of(self.table)

    def look_at(self, tasks: Sequence[Task]) -> list[ImageAudit]:
        """One look per task."""
        return [self.look(task) for task in tasks]

    def look(self, task: Task) -> ImageAudit:
        """Everything that is wrong with one image, and what its statistics need."""
        notes = Notes(self.split, task.id)
        path = self.layout.split(self.split) / "image" / task.name
        data = notes.attempt(lambda: read_file(path, "image", absent="this image is missing", cure=RESTORE))
        seen = None if data is None else _see(data, path, notes)
        entry = task.entry
        has_mask, has_tags = entry is not None and entry.mask is not None, entry is not None and len(entry.tags) > 0
        labels = self._mask(task, seen, notes) if self.has_masks or has_mask else None
        tags = self._tags(task, notes) if self.has_tags or has_tags else None
        if self.wss is not None:
            self._labels(self.wss.folder / f"{task.id}.png", "WSS mask", self.wss.cure, seen, notes)
        if labels is not None and tags is not None:
            self._compare(task.id, labels, tags, notes)
        if seen is not None and data is not None:
            if seen.orientation != 1 and not any(finding.kind == TURNED for finding in notes.found):
                cure = "compare the image with its mask by eye; none needed where both lie alike as stored"
                problem = f"orientation {seen.orientation} is not applied"
                notes.remark("image: EXIF orientation", path, problem, cure)
            _note_change(task, data, path, "image", notes)
        digest = 0 if data is None else int(FileMark.of(data).digest[:15], 16)
        return ImageAudit(task.id, tuple(notes.found), digest, tags, labels)

    def _mask(self, task: Task, seen: DecodedImage | None, notes: Notes) -> Labels | None:
        path = self.layout.mask(self.split, task.id)
        content = self._labels(path, "mask", RESTORE, seen, notes)
        if content is None:
            return None
        labels, data = content
        _note_change(task, data, path, "mask", notes)
        return labels

    def _labels(
        self, path: Path, what: str, cure: str, seen: DecodedImage | None, notes: Notes
    ) -> tuple[Labels, bytes] | None:
        """Pixels per class of a mask, and the bytes of its file; None and a finding if it is broken or does not fit."""
        data = notes.attempt(lambda: read_file(path, what, absent=f"this {what} is missing", cure=cure))
        mask = None if data is None else notes.attempt(lambda: open_mask(data, path, what))
        if data is None or mask is None or not _fits(mask, seen, path, what, notes):
            return None
        labels = {label: pixels for label, pixels in enumerate(mask.histogram()) if pixels}
        wrong = [label for label in labels if self.table.num_classes <= label != IGNORE]
        if wrong:
            problem = f"label {wrong[0]}: allowed are 0 to {self.table.num_classes - 1} and {IGNORE}"
            cure = f"was it made for another data set than {self.table.name}? fetch or make this mask again"
            notes.broken(f"{what}: label", path, problem, cure)
            return None
        renumbered = self.colours.problem(data, np.array(list(labels)))
        if renumbered is not None:
            notes.broken(f"{what}: palette", path, renumbered, CURE)
            return None
        return labels, data

    def _tags(self, task: Task, notes: Notes) -> tuple[int, ...] | None:
        path = self.layout.tags(self.split, task.id)
        names, first = self.table.names, self.table.first_tag
        data = notes.attempt(lambda: read_file(path, "tags", absent="this XML is missing", cure=AGAIN, limit=XML_BYTES))
        tags = None if data is None else notes.attempt(lambda: parse_tags(data, path, names[first:]))
        if tags is None:
            return None
        if not tags:
            cure = "training leaves the image out; if that is not meant, name its objects in the XML"
            notes.remark("tags: none", path, "no object", cure)
        if task.entry is not None and task.entry.tags != tuple(tags):
            before = ", ".join(task.entry.tags) or "none"
            problem = f"differs from the manifest, which has {before}"
            notes.broken("tags: changed", path, problem, f"restore the file, or {AGAIN}")
        return tuple(names.index(name, first) for name in tags)

    def _compare(self, image_id: str, labels: Labels, tags: Sequence[int], notes: Notes) -> None:
        """Adds a remark where tags and mask do not name the same classes."""
        shown = {label for label in labels if self.table.first_tag <= label != IGNORE}
        missing, untagged = sorted({*tags} - shown), sorted(shown - {*tags})
        if missing:
            problem = f"{self._named(missing)}: tagged, but without a pixel in the mask"
            cure = "none needed where the original is like that, as in 817 images of VOC; else correct the XML"
            notes.remark("tag without pixels", self.layout.tags(self.split, image_id), problem, cure)
        if untagged:
            problem = f"{self._named(untagged)}: in the mask, but not tagged"
            cure = "none needed where the original is like that, as in 2008_005245 of VOC; else correct the XML"
            notes.remark("pixels without tag", self.layout.mask(self.split, image_id), problem, cure)

    def _named(self, labels: Sequence[int]) -> str:
        return ", ".join(self.table.names[label] for label in labels)


def _see(data: bytes, path: Path, notes: Notes) -> DecodedImage | None:
    """What is known of an image after it was decoded; its pixels are not kept."""
    picture = notes.attempt(lambda: open_image(data, path))
    return None if picture is None else DecodedImage((picture.height, picture.width), orientation_of(picture))


def orientation_of(picture: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 where there is none, or none that is valid."""
    try:
        orientation = picture.getexif().get(ORIENTATION, 1)
    except BROKEN:  # only the EXIF data: the pixels are decoded already
        return 1
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


def _fits(mask: Image.Image, seen: DecodedImage | None, path: Path, what: str, notes: Notes) -> bool:
    """Whether a mask has the size of its image, as far as that is known."""
    size = (mask.height, mask.width)
    if seen is None or size == seen.size:
        return True
    problem = f"size {size}: the image has {seen.size} (height, width)"
    if what == "mask" and seen.orientation in LYING and size == seen.size[::-1]:
        problem += f" as stored, and EXIF orientation {seen.orientation}, which is not applied"
        notes.broken(TURNED, path, problem, "write the image anew, turned by PIL.ImageOps.exif_transpose")
    else:
        notes.broken(f"{what}: size", path, problem, "make image and mask from the same original again")
    return False


def _note_change(task: Task, data: bytes, path: Path, what: str, notes: Notes) -> None:
    """Compares a whole file with what the manifest says of it."""
    if not task.expected:
        return
    if task.entry is None:
        if what == "image":
            notes.broken("manifest: image not in it", path, "came after the manifest", f"take it away, or {AGAIN}")
        return
    mark, now = (task.entry.image if what == "image" else task.entry.mask), FileMark.of(data)
    if not mark:
        notes.broken(f"{what}: changed", path, "the manifest knows no such file", f"take it away, or {AGAIN}")
    elif mark != now:
        change = "other content than" if mark.length == now.length else f"{now.length} bytes, not {mark.length} as"
        notes.broken(f"{what}: changed", path, f"{change} when prepare put it there", f"restore the file, or {AGAIN}")
