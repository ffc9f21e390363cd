"""One split of a download into our layout: in parallel, to be continued after an interruption, closed by a manifest."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np

from dhr.core.errors import InputError
from dhr.dataset.prepare.place import Placement, place_all, place_remembered, remember
from dhr.disk.atomic import write_stream
from dhr.disk.file_names import IMAGES, names_in, printable
from dhr.disk.layout import DataLayout
from dhr.disk.manifest import JOURNAL, NO_ENTRY, Entry, Header, Manifest, is_in_place, write_manifest
from dhr.disk.stated import LINE_BYTES, lines
from dhr.disk.writing import remove_orphans, writing
from dhr.runtime.pools import map_ahead, process_pool
from dhr.runtime.progress import progress

PARTS = ("image", "mask", "xml")  # folders of a split
CHUNK = 32  # images per message between processes
ALONE = 64  # so few images are faster without further processes
SHOWN = 5  # bad originals named in one message
Result = Entry | InputError


def write_split(job: Placement, dataset: str, split: str, *, workers: int) -> Header:
    """Brings one split into the layout; what was done before is not done again.

    Raises:
        InputError: originals are broken: names the first of them. All others are in place then and need not be done
            again, but the split has no manifest.
    """
    folder, ids = job.layout.split(split), job.ids(split)
    # What the split is made from: kind of download, which of its forms, and class order.
    values = [type(job.original).__name__, split, *job.original.remarks, *job.table.names]
    recipe = hashlib.blake2b(json.dumps(values).encode(), digest_size=8).hexdigest()
    known = Manifest.open(folder)
    same = known if known is not None and (known.header.recipe == recipe or job.in_place) else None
    if same is not None:
        done = [entry.id.encode() for entry in same if is_in_place(entry, job.layout, split)]
        if np.array_equal(np.array(done, dtype=np.bytes_), ids):
            return same.header
    journal = Journal(folder / JOURNAL, recipe)
    journal.start(same)
    for part in PARTS:
        remove_orphans(folder / part)
    todo = ids[~np.isin(ids, journal.done(job.layout, split))]
    problems = Problems()
    results = _recorded(_results(job, split, todo, workers), journal)
    for result in progress(results, f"{job.layout.folder}/{split}", total=len(todo)):
        if isinstance(result, InputError):
            problems.add(result)
    problems.check()
    limit = known.header.limit if known is not None and job.in_place else job.limit_of(split)
    header = Header(dataset, split, len(ids), journal.origins(ids), recipe, job.table.names, limit)
    write_manifest(folder, header, journal.entries(ids))
    with writing(journal.path):
        journal.path.unlink()
    return header


def check_originals(job: Placement, split: str) -> None:
    """Makes sure that the files of a split are there, before anything is written.

    Raises:
        InputError: some are missing: names the first, and says how many.
    """
    missing = [
        path
        for image_id in job.ids(split)
        for example in [job.original.example(split, image_id.decode())]
        for path in (example.image, None if example.mask is None else example.mask.file)
        if path is not None and not path.is_file()
    ]
    if missing:
        raise InputError(
            f"split {split}: {missing[0]}: this file is missing, and {len(missing) - 1} more; unpack the original "
            "download completely, or give the folder that holds it"
        )


def check_foreign(job: Placement, split: str) -> None:
    """Makes sure that the folder of a split holds no images that are not to be in it.

    Raises:
        InputError: it does, or it was made with another `limit`.
    """
    folder, ids, limit = job.layout.split(split), job.ids(split), job.limit_of(split)
    known = Manifest.open(folder)
    other = None if known is None or known.header.images == len(ids) else known.header
    if other is not None and (limit is not None or (other.limit is not None and not job.in_place)):
        raise _other_number(job, split, f"{other.images} images")
    names = names_in(folder / "image", IMAGES)
    present = np.array([os.fsencode(os.path.splitext(name)[0]) for name in names], dtype=np.bytes_)
    foreign = np.sort(present[~np.isin(present, ids)])
    if len(foreign) and limit is not None:
        raise _other_number(job, split, f"{len(foreign)} images that are not among these")
    if len(foreign):
        shown = printable(os.fsdecode(foreign[0]))
        raise InputError(
            f"{folder}: {shown}: {len(foreign)} images here are not in this split of the "
            "download; move that folder away, or prepare from the download it was made from"
        )


def _other_number(job: Placement, split: str, images: str) -> InputError:
    asked, limit = len(job.ids(split)), job.limit or "null"
    return InputError(
        f"limit={limit}: {job.layout.split(split)}: {asked} images are to be here, and here are {images}; prepare into "
        "another folder with dataset.folder=<another name>, here and in every command that follows"
    )


@dataclass
class Problems:
    """Broken originals: how many, and the first of them."""

    first: list[str] = field(default_factory=list)
    count: int = 0

    def add(self, error: InputError) -> None:
        """Counts one more."""
        self.count += 1
        if self.count <= SHOWN:
            self.first.append(str(error))

    def check(self) -> None:
        """Raises InputError if there is any."""
        if self.count:
            rest = [f"... and {self.count - SHOWN} more"] if self.count > SHOWN else []
            raise InputError("\n".join([*self.first, *rest, "all others are in place; mend these and run it again"]))


@dataclass(frozen=True)
class Journal:
    """Entries in the order in which images were done, one line each behind a line with the recipe.

    Only whole lines count, up to the first that is no entry: a killed process may leave a torn line, a full disk zeros.
    """

    path: Path
    recipe: str

    def start(self, manifest: Manifest | None) -> None:
        """Makes a journal with the entries of a manifest, unless one of this recipe is there to be continued."""
        if self.path.is_file():
            with self.path.open("rb") as file:
                continued = file.readline(LINE_BYTES) == self._head()
            if continued:
                self._cut_broken_lines()
                return
        entries = ((entry.line() + "\n").encode() for entry in manifest or ())
        write_stream(self.path, chain([self._head()], entries))

    def add(self, entries: Iterable[Entry]) -> None:
        """Appends entries; they survive the end of this process."""
        with writing(self.path), self.path.open("ab") as file:
            file.write("".join(entry.line() + "\n" for entry in entries).encode())

    def done(self, layout: DataLayout, split: str) -> np.ndarray:
        """Ids whose files are in place."""
        ids = (entry.id.encode() for _, entry in self._read() if is_in_place(entry, layout, split))
        return np.array(list(ids), dtype=np.bytes_)

    def origins(self, ids: np.ndarray) -> dict[str, int]:
        """Where the tags come from, with the number of images each."""
        return dict(sorted(Counter(entry.tags_from for entry in self.entries(ids)).items()))

    def entries(self, ids: np.ndarray) -> Iterator[Entry]:
        """The last entry of each id, in the order of `ids`; one at a time, whatever their number."""
        last = {entry.id.encode(): offset for offset, entry in self._read()}
        with self.path.open("rb") as file:
            for image_id in ids:
                file.seek(last[bytes(image_id)])
                yield Entry.parse(file.readline())

    def _head(self) -> bytes:
        return (json.dumps({"recipe": self.recipe}) + "\n").encode()

    def _read(self) -> Iterator[tuple[int, Entry]]:
        """Entries with the place of their line."""
        with self.path.open("rb") as file:
            offset = len(file.readline())
            for line in lines(file):
                yield offset, Entry.parse(line)
                offset += len(line)

    def _cut_broken_lines(self) -> None:
        with writing(self.path), self.path.open("rb+") as file:
            whole = len(file.readline())
            try:
                for line in lines(file):
                    Entry.parse(line)
                    whole += len(line) if line.endswith(b"\n") else 0
            except NO_ENTRY:
                pass  # what was done from here on is looked at again
            file.truncate(whole)


def _recorded(results: Iterable[list[Result]], journal: Journal) -> Iterator[Result]:
    """Results one by one, after their entries went into the journal together."""
    for chunk in results:
        journal.add(result for result in chunk if isinstance(result, Entry))
        yield from chunk


def _results(job: Placement, split: str, ids: np.ndarray, workers: int) -> Iterator[list[Result]]:
    """Entries in the order of `ids`, some at a time; an InputError where an original is broken."""
    chunks = [ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK)]
    if workers < 2 or len(ids) <= ALONE:
        yield from (place_all(job, split, chunk) for chunk in chunks)
        return
    with process_pool(workers, remember, job, split) as pool:
        try:
            yield from map_ahead(pool, place_remembered, chunks, workers=workers)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
