"""Images of a split beside what its manifest says of them, one at a time."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from dhr.core.errors import InputError
from dhr.dataset.audit.finding import Notes, problem_of
from dhr.dataset.audit.image import AGAIN, Task
from dhr.dataset.classes import ClassTable
from dhr.disk.manifest import JOURNAL, NAME, Entry, Manifest

SHOWN = 80  # letters of an id that a manifest states


def open_manifest(folder: Path, table: ClassTable, notes: Notes) -> Manifest | None:
    """The manifest of a split's folder if there is a usable one; what is wrong with it goes into `notes`."""
    try:
        manifest = Manifest.open(folder)
    except (InputError, RecursionError) as error:  # the latter from brackets nested a thousandfold
        notes.broken("manifest: unreadable", folder / NAME, problem_of(error, folder / NAME), AGAIN)
        return None
    if manifest is None:
        stopped = "prepare was interrupted, so " if (folder / JOURNAL).exists() else ""
        notes.remark("manifest: missing", folder / NAME, f"{stopped}a file that changes is not noticed", AGAIN)
    elif manifest.header.names != table.names:
        problem = "its masks have other classes, or these in another order"
        notes.broken("manifest: classes", folder / NAME, problem, f"set the right dataset, or {AGAIN}")
    return manifest


def pair(files: Iterable[tuple[str, str]], manifest: Manifest | None, notes: Notes) -> Iterator[Task]:
    """Tasks in the order of the ids, with what the manifest says of each; entries without an image go into `notes`."""
    entries = None if manifest is None else EntryWalk(manifest, notes)
    for image_id, name in files:
        entry = None if entries is None else entries.take(image_id)
        yield Task(image_id, name, entry, expected=entries is not None and not entries.failed)
    if entries is not None:
        entries.take(None)


class EntryWalk:
    """Walks through a manifest beside the sorted ids of a split, never holding more than one entry.

    An id of a manifest may be anything: it is shown and compared, never made into a path.
    """

    def __init__(self, manifest: Manifest, notes: Notes) -> None:
        self.failed = False
        self._manifest, self._notes, self._last = manifest, notes, ""
        self._source = iter(manifest)
        self._entry = self._next()

    def take(self, image_id: str | None) -> Entry | None:
        """The entry of an id, if there is one; those before it, or all for None, have no image."""
        while self._entry is not None and (image_id is None or self._entry.id < image_id):
            cure = f"restore the image, or {AGAIN}"
            stated = self._entry.id[:SHOWN]
            self._notes.broken("image: missing", self._manifest.path, f"{stated!r} has no image", cure, image_id=stated)
            self._entry = self._next()
        if self._entry is None or self._entry.id != image_id:
            return None
        entry, self._entry = self._entry, self._next()
        return entry

    def _next(self) -> Entry | None:
        try:
            entry = next(self._source, None)
        except (InputError, RecursionError) as error:  # the latter from brackets nested a thousandfold
            self._fail(problem_of(error, self._manifest.path))
            return None
        if entry is not None and entry.id <= self._last:
            self._fail(f"{entry.id[:SHOWN]!r} does not come after {self._last[:SHOWN]!r}")
            return None
        self._last = "" if entry is None else entry.id
        return entry

    def _fail(self, problem: str) -> None:
        self.failed = True
        self._notes.broken("manifest: unreadable", self._manifest.path, problem, AGAIN)
