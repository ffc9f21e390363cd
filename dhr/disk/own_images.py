"""The images of a user as they lie: a folder with all below it, one file, or a pattern; each with an id."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from dhr.core.errors import InputError
from dhr.core.words import is_pattern
from dhr.disk.any_image import endings
from dhr.disk.file_names import IDS, UNUSABLE, has_ending, printable
from dhr.disk.ledger import Ledger
from dhr.disk.products import some
from dhr.disk.reading import BadFileError

ANY_DEPTH = "**"
Places = frozenset[tuple[int, int]]  # of folders on their disks, whatever they are called


@dataclass(frozen=True)
class OwnImages:
    """What `images=` names.

    Attributes:
        root: folder that the ids start from.
        files: id -> image. An id is the path below `root` without its ending, with / between folders.
        unusable: what has no id, or no images that can be listed, and why.
        left: what lies there and is not taken, by reason.
    """

    root: Path
    files: Mapping[str, Path]
    unusable: Sequence[BadFileError]
    left: Mapping[str, Sequence[str]]

    @classmethod
    def at(cls, given: str) -> "OwnImages":
        """The images of a folder, a file, or a pattern with * ? [] (one folder or name) and ** (any number of folders).

        Left out are hidden names, names that do not end like an image, folders that a stage of ours filled, and links
        that lead back to a folder above them. A file that is named itself is taken whatever its ending is.

        Raises:
            InputError: there is nothing of this name or no image in it, or two images have one id.
        """
        walk = _Walk.of(given)
        files: dict[str, Path] = {}
        for name in walk.names():
            image_id = os.path.splitext(name)[0]
            if image_id in files:
                raise InputError(
                    f"{walk.root / name}: {files[image_id].name} beside it has the same id; rename one of them"
                )
            if UNUSABLE.search(name):
                place, problem = Path(printable(str(walk.root / name))), "not UTF-8, or has control characters"
                walk.unusable.append(BadFileError.of(place, "name", problem=problem, cure=f"rename it: {IDS}"))
                continue
            files[image_id] = walk.root / name
        folders = {str(folder) for image_id in files for folder in PurePosixPath(image_id).parents}
        for image_id in files:
            if f"{image_id}.png" in folders:
                raise InputError(
                    f"{files[image_id]}: its mask would be in the way of the folder {image_id}.png; rename it"
                )
        if not files and not walk.unusable:
            there = "; ".join(f"{reason}: {some(names)}" for reason, names in walk.left.items())
            raise InputError(
                f"images: {given}: no image there{f' ({there})' if there else ''}; "
                "use images=<folder>, <file> or '<pattern>', of a format that Pillow reads"
            )
        return cls(walk.root, dict(sorted(files.items())), walk.unusable, walk.left)

    @property
    def name(self) -> str:
        """Name of the folder that the ids start from."""
        return Path(os.path.abspath(self.root)).name or "images"

    def refuse_output(self, output: Path) -> None:
        """Refuses to write where images lie.

        Raises:
            InputError: one of them lies in `output` or below it.
        """
        taken = os.path.realpath(output)
        for folder in {path.parent for path in self.files.values()}:
            if os.path.commonpath([taken, os.path.realpath(folder)]) == taken:
                raise InputError(f"output: {output}: holds images that are to be read ({folder}); use another folder")


def _split(path: Path) -> tuple[Path, tuple[str, ...]]:
    """The folder before the first wild part, and the parts from there on."""
    first = next(number for number, part in enumerate(path.parts) if is_pattern(part))
    return Path(*path.parts[:first]), path.parts[first:]


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether the parts of a name are those of a pattern.

    >>> _matches(["a", "b", "1.png"], ["**", "*.png"]), _matches(["a", "1.png"], ["*.png"])
    (True, False)
    """
    if not pattern or not parts:
        return not parts and all(part == ANY_DEPTH for part in pattern)
    if pattern[0] == ANY_DEPTH:
        return _matches(parts, pattern[1:]) or _matches(parts[1:], pattern)
    return fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


@dataclass
class _Walk:
    """Goes through a folder, in the order of names; `unusable` and `left` are filled meanwhile."""

    root: Path
    only: str | None = None
    pattern: tuple[str, ...] | None = None
    unusable: list[BadFileError] = field(default_factory=list)
    left: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, given: str) -> "_Walk":
        """The way to what a text names; a text that names something as it stands is no pattern."""
        path = Path(given)
        if path.is_dir():
            return cls(path)
        if path.exists():
            return cls(path.parent, only=path.name)
        if not is_pattern(given):
            raise InputError(f"images: {given}: no such file or folder")
        root, pattern = _split(path)
        if not root.is_dir():
            raise InputError(f"images: {given}: no folder {root}")
        return cls(root, pattern=pattern)

    def names(self) -> Iterator[str]:
        """Paths of the images below the root."""
        if self.only is not None:
            yield self.only
            return
        waiting: list[tuple[str, Places]] = [("", frozenset())]
        while waiting:
            below, above = waiting.pop()
            entries, inside = self._entries(below, above)
            folders = [f"{below}{entry.name}/" for entry in entries if _is_folder(entry)]
            yield from self._images(below, (entry.name for entry in entries if not _is_folder(entry)))
            if self.pattern is None or ANY_DEPTH in self.pattern or below.count("/") + 1 < len(self.pattern):
                waiting += [(name, inside) for name in reversed(folders) if not self._is_ours(name)]

    def _images(self, below: str, names: Iterable[str]) -> Iterator[str]:
        for name in names:
            path = f"{below}{name}"
            if self.pattern is not None and not _matches(PurePosixPath(path).parts, self.pattern):
                continue
            if has_ending(name, endings()):
                yield path
            else:
                self._leave("no ending of an image", path)

    def _entries(self, below: str, above: Places) -> tuple[list[os.DirEntry[str]], Places]:
        """What lies in a folder by name, hidden names left out, and the places of the folder and of those above it.

        Nothing where it cannot be listed, or is one of those above.
        """
        folder = self.root / below
        try:
            status = folder.stat()
            place = status.st_dev, status.st_ino
            if place in above:
                self._leave("a link back to a folder above it", below)
                return [], above
            with os.scandir(folder) as found:
                entries = [entry for entry in found if not entry.name.startswith(".")]
        except OSError as error:
            problem = f"this folder cannot be listed ({error.strerror})"
            cure = "get the right to read it, or move it away"
            self.unusable.append(BadFileError.of(Path(printable(str(folder))), "folder", problem=problem, cure=cure))
            return [], above
        return sorted(entries, key=lambda entry: entry.name), above | {place}

    def _is_ours(self, name: str) -> bool:
        """Whether a ledger beside a folder says that a stage filled it, with masks for instance."""
        ours = Ledger(self.root / name).path.is_file()
        if ours:
            self._leave("made here", name)
        return ours

    def _leave(self, reason: str, name: str) -> None:
        self.left.setdefault(reason, []).append(printable(name))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """A link to a folder is one; a link that leads nowhere, or in a circle, is not."""
    try:
        return entry.is_dir()
    except OSError:
        return False
