"""Images of the user's own: a folder of them, and a file that says which classes each of them shows."""

import hashlib
import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from dhr.core.errors import InputError
from dhr.core.labels import IGNORE
from dhr.core.words import as_share
from dhr.dataset.classes import BACKGROUND
from dhr.dataset.original.interface import Brought, Example, Given, ids_array
from dhr.dataset.original.splits import row, some
from dhr.disk.any_image import endings
from dhr.disk.file_names import MASKS, has_ending, ids_of_paths, printable
from dhr.disk.manifest import JOURNAL
from dhr.disk.manifest import NAME as MANIFEST
from dhr.disk.mask import read_mask
from dhr.disk.reading import read_file
from dhr.disk.tag_files import ImageNames, as_class, read_tag_file, tags_of_images
from dhr.disk.tag_tables import lines_of

SHARE = 0.1  # of the images to validate on, where nothing else is said


@dataclass(frozen=True)
class OwnMask:
    """A PNG of class indices; its colours, which may be any, are replaced by ours."""

    file: Path

    def read(self) -> np.ndarray:
        """(H,W) uint8."""
        return read_mask(self.file)


@dataclass(frozen=True, eq=False)
class FolderOriginal:
    """Opened images of the user's own.

    Attributes:
        splits: train, and validation unless it is empty.
        remarks: the classes with the number of their images, and what tells these tags from others.
        left_out: images without tags, tags without images, masks that are not used.
        names: background and the classes.
        root: folder of the images.
        ids: (N) bytes, sorted: all ids.
        files: (N) bytes: path of each image below `root`.
        masks: (N) bytes: path of each mask, empty without one.
        shown: (N,T) bool: which classes each image shows.
    """

    splits: Mapping[str, np.ndarray]
    remarks: tuple[str, ...]
    left_out: tuple[str, ...]
    names: tuple[str, ...]
    root: Path
    ids: np.ndarray
    files: np.ndarray
    masks: np.ndarray
    shown: np.ndarray

    def example(self, split: str, image_id: str) -> Example:
        """Files and tags of one image, which is converted where our reader would not take it."""
        at = row(self.ids, image_id)
        mask = os.fsdecode(bytes(self.masks[at]))
        tags = tuple(name for name, shown in zip(self.names[1:], self.shown[at], strict=True) if shown)
        return Example(
            id=image_id,
            image=self.root / os.fsdecode(bytes(self.files[at])),
            mask=OwnMask(Path(mask)) if mask else None,
            tags=tags,
            is_plain=False,
        )


@dataclass(frozen=True)
class Folder:
    """A folder of images in any order and depth, and a tag file; without one, a folder of images for every class."""

    takes: ClassVar[frozenset[str]] = frozenset()

    def open(self, given: Given) -> FolderOriginal:
        """Looks at names, tags and the list of images to validate on; of images alike in size, also at their content.

        Raises:
            InputError: no image, a tag file that is none of theirs, fewer than two classes, or masks that are missing.
        """
        root, brought = given.source.folders[0], given.brought or Brought()
        images = sorted(_below(root, endings(), without=brought.masks))
        if not images:
            raise InputError(f"{given.source.argument}: no image in it; use images=<folder of pictures, such as .jpg>")
        tags, absent = _tags(root, images, brought)
        names = _classes(tags, brought)
        ids = ids_of_paths(sorted(tags))
        masks, unused = _masks(ids, brought)
        splits, dropped = _splits(ids, masks, brought)
        known = ids_array(iter(ids), root)
        order = [os.fsdecode(bytes(image_id)) for image_id in known]
        shown = np.array([[name in tags[ids[image_id]] for name in names[1:]] for image_id in order], bool)
        return FolderOriginal(
            splits={split: ids_array(iter(chosen), root) for split, chosen in splits.items() if chosen},
            remarks=_remarks(brought.tags or root, names, shown),
            left_out=tuple(_left_out(root, brought, sorted({*images} - {*tags}), absent, [*unused, *dropped])),
            names=names,
            root=root,
            ids=known,
            files=np.array([os.fsencode(ids[image_id]) for image_id in order], np.bytes_),
            masks=np.array([os.fsencode(masks.get(image_id, "")) for image_id in order], np.bytes_),
            shown=shown,
        )


def _below(folder: Path, suffixes: tuple[str, ...], without: Path | None = None) -> Iterator[str]:
    """Paths below a folder of the files that end with one of these.

    Left out are hidden files and folders, splits that prepare made, and the folder `without` if it lies there.
    """
    apart = None if without is None or without.resolve() == folder.resolve() else without.resolve()
    for place, folders, names in os.walk(folder):
        if {MANIFEST, JOURNAL} & {*names} or Path(place).resolve() == apart:
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        for name in names:
            if has_ending(name, suffixes) and not name.startswith("."):
                yield (Path(place) / name).relative_to(folder).as_posix()


def _tags(root: Path, images: Sequence[str], brought: Brought) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """Tags of every image that has some or is said to have none, and names that are no image."""
    place = root if brought.tags is None else brought.tags
    if brought.tags is None and not all("/" in image for image in images):
        cure = "use tags=<file>, or put the images into a folder for every class"
        raise InputError(f"tags: null: which classes do the images of {root} show? {cure}")
    tags, absent = tags_of_images(read_tag_file(place, classes=_stated_classes(brought)), images, place)
    if not tags:
        first = printable(absent[0][:80])
        raise InputError(f"{place}: {first}: no image of {root} is called so, or by another name there")
    return (_united(root, tags) if place.is_dir() and place.samefile(root) else tags), absent


def _united(root: Path, tags: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Files of the same content in the folders of several classes are one image with the tags of all."""
    sizes = [(root / image).stat().st_size for image in tags]
    alike = Counter(sizes)
    first: dict[object, str] = {}
    united: dict[str, tuple[str, ...]] = {}
    for image, size in zip(tags, sizes, strict=True):
        content = image if alike[size] == 1 else _digest(root / image)
        kept = first.setdefault(content, image)
        united[kept] = tuple(dict.fromkeys([*united.get(kept, ()), *tags[image]]))
    return united


def _digest(path: Path) -> bytes:
    data = read_file(path, "image", absent="this image is missing", cure="prepare the images while nobody moves them")
    return hashlib.blake2b(data).digest()


def _stated_classes(brought: Brought) -> list[str] | None:
    """The classes that `classes` lists, without the background; None for those of the tags."""
    if brought.classes is None:
        return None
    path = Path(brought.classes)
    listed = lines_of(path) if path.is_file() else brought.classes.strip("[]").split(",")
    names = [as_class(name, f"classes: {brought.classes}") for name in listed if name.strip() != BACKGROUND]
    twice = next((name for name in names if names.count(name) > 1 or not name), None)
    if twice is not None or not names:
        raise InputError(f"classes: {brought.classes}: '{twice or ''}' is no class of its own; list each of them once")
    return names


def _classes(tags: Mapping[str, tuple[str, ...]], brought: Brought) -> tuple[str, ...]:
    """Background and the classes: those that are stated, or those of the tags, sorted."""
    used = {tag for of_image in tags.values() for tag in of_image}
    names = _stated_classes(brought) or sorted(used, key=lambda name: (name.casefold(), name))
    place = brought.tags or "images"
    if not used:
        raise InputError(f"{place}: no image has a tag; write the classes that each image shows behind its name")
    if len(used) == 1:
        cure = "masks are learned from what tells images of a class from others: tag these too, for instance as `other`"
        raise InputError(f"{place}: {used.pop()}: the only class that an image shows; {cure}")
    if len(names) >= IGNORE:
        raise InputError(f"{place}: {len(names)} classes; masks hold at most {IGNORE - 1} and the background")
    return (BACKGROUND, *names)


def _masks(ids: Mapping[str, str], brought: Brought) -> tuple[dict[str, str], list[str]]:
    """Id -> mask, and the masks of no image."""
    if brought.masks is None:
        return {}, []
    if not brought.masks.is_dir():
        raise InputError(f"masks: {brought.masks}: not a folder; use masks=<folder of PNGs of class indices>")
    files = sorted(_below(brought.masks, MASKS))
    names, owner = ImageNames(files, f"masks: {brought.masks}"), dict[str, str]()
    for image_id, image in ids.items():
        mask = names.find(image) or names.find(image_id)
        if mask is not None and mask in owner:
            raise InputError(f"{brought.masks / mask}: is of {ids[owner[mask]]} and of {image}; call it as one of them")
        if mask is not None:
            owner[mask] = image_id
    if not owner:
        raise InputError(f"masks: {brought.masks}: no mask is called as an image; call them <name of the image>.png")
    return {image_id: str(brought.masks / mask) for mask, image_id in owner.items()}, sorted({*files} - {*owner})


def _splits(ids: Mapping[str, str], masks: dict[str, str], brought: Brought) -> tuple[dict[str, list[str]], list[str]]:
    """The images to learn from and to validate on; a split whose masks are not complete loses them, which are returned.

    A share is drawn by the digest of the id: more images move none of those that were there. It is of the images with
    masks where there are any, since only these can be scored.
    """
    asked = brought.validation
    share = SHARE if asked is None else as_share(asked)
    if share is None:
        validation = _listed(Path(str(asked)), ids)
    elif asked is None and 0 < len(masks) < len(ids):
        validation = {*masks}
    else:
        drawn = sorted(masks or ids, key=_drawn)
        validation = {image_id for image_id in drawn if _drawn(image_id) < share} or {*drawn[: share > 0]}
    splits = {"train": sorted({*ids} - validation), "validation": sorted(validation)}
    if not splits["train"]:
        raise InputError(f"validation: {asked}: all {len(ids)} images, and none is left to learn from; leave some out")
    lacking = [image_id for image_id in splits["validation"] if image_id not in masks]
    if 0 < len(lacking) < len(validation):
        cure = "validate on images that have a mask"
        raise InputError(f"masks: {brought.masks}: no mask of {ids[lacking[0]]} and {len(lacking) - 1} more; {cure}")
    dropped = [image_id for image_id in splits["train"] if image_id in masks]
    if len(dropped) == len(splits["train"]):
        return splits, []
    return splits, [masks.pop(image_id) for image_id in dropped]


def _drawn(image_id: str) -> float:
    """A number from 0 to 1 that depends on the id alone."""
    return int.from_bytes(hashlib.blake2b(image_id.encode(), digest_size=8).digest()) / 2**64


def _listed(path: Path, ids: Mapping[str, str]) -> set[str]:
    """The ids of the images that a file lists."""
    of_image = {image: image_id for image_id, image in ids.items()}
    names, found = ImageNames([*of_image], str(path)), set[str]()
    for line in lines_of(path):
        image = names.find(line)
        if image is None:
            raise InputError(f"{path}: {printable(line[:80])}: no tagged image is called so; correct the line")
        found.add(of_image[image])
    return found


def _remarks(place: Path, names: Sequence[str], shown: np.ndarray) -> tuple[str, ...]:
    """How many images show each class, and a digest, so that other tags of the same numbers are told apart."""
    digest = hashlib.blake2b(np.packbits(shown).tobytes(), digest_size=4).hexdigest()
    counts = ", ".join(f"{name} {count}" for name, count in zip(names[1:], shown.sum(0).tolist(), strict=True))
    return (f"{place}: images with each class: {counts} (tags {digest})",)


def _left_out(
    root: Path, brought: Brought, untagged: Sequence[str], absent: Sequence[str], masks: Collection[str]
) -> Iterator[str]:
    unread = [name for name in absent if ".." not in name and os.path.isfile(root / name.lstrip("/"))]
    for place, names, reason in (
        (root, untagged, "no tags; write their names into the tag file, without a tag if they show no class"),
        (root, unread, "no picture by their endings, or hidden; convert them to JPEG or PNG"),
        (brought.tags or root, sorted({*absent} - {*unread}), "no image has this name"),
        (
            brought.masks or root,
            sorted(masks),
            "of no tagged image, or others that are trained on have none",
        ),
    ):
        if names:
            yield f"{place}: left out: {some(np.array([*map(os.fsencode, names)], np.bytes_))}: {reason}"
