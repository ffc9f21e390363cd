"""A folder of products, one file per image, all made with the same settings: made, continued, made anew, read again."""

import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from dhr.core.errors import InputError
from dhr.disk.atomic import read_json, write_atomically, write_json
from dhr.disk.ledger import ENDING, Additions, Known, Ledger, Made, digest_of
from dhr.disk.lock import only_writer
from dhr.disk.mark import Mark
from dhr.disk.products import some
from dhr.disk.writing import remove_orphans, writing
from dhr.runtime.progress import progress
from dhr.runtime.ranks import Ranks

Keep = Callable[[str, bytes], None]  # takes the content of an image's file; from any thread
# Makes the files of some images, hands each to the Keep, and yields something for each of them.
Make = Callable[[Sequence[str], Keep], Iterator[object]]
log = logging.getLogger("dhr.disk")


@dataclass(frozen=True)
class Output:
    """Products of one stage.

    Attributes:
        folder: where they lie.
        settings: everything that determines the products, by content, not by names or times.
        sources: gives the files that the product of an id is made from.
        what: the products, in messages.
        suffix: ending of their files.
        others: endings of other forms of a product; a new file replaces these.
        elsewhere: the setting that leaves existing products alone, in messages.
        given: says in words what else determines the product of an id alone, such as its tags.
    """

    folder: Path
    settings: Mapping[str, object]
    sources: Callable[[str], Sequence[Path]]
    what: str = "masks"
    suffix: str = ".png"
    others: tuple[str, ...] = ()
    elsewhere: str = "another folder"
    given: Callable[[str], str] = lambda _: ""

    @property
    def ledger(self) -> Ledger:
        """What is in the folder."""
        return Ledger(self.folder)

    def path(self, image_id: str) -> Path:
        """File of an image; an id with / lies in a folder of its own."""
        return self.folder / self._name(image_id)

    def refuse_mixture(self, ids: Sequence[str], *, overwrite: bool) -> None:
        """Refuses products that were made with other settings, unless `overwrite` is set.

        Raises:
            InputError: names the settings that differ, or says that the folder has no record of them.
        """
        count, record = self.there(ids), self.ledger.settings
        if overwrite or not count:
            return
        cure = f"overwrite=true makes them anew, {self.elsewhere} leaves them alone"
        if not record.exists():
            raise InputError(
                f"{self.folder}: holds {self.what} of {count} of {len(ids)} images that do not say how they were made "
                f"(no {record.name}); {cure}"
            )
        differing = self.differing()
        if differing:
            raise InputError(
                f"{self.folder}: its {self.what} were made with other settings ({', '.join(differing)} in {record}); "
                f"{cure}"
            )

    def differing(self) -> list[str]:
        """Keys of the settings in which the products on disk differ from these; none without a record on disk."""
        record = self.ledger.settings
        return differing_keys(read_json(record), self.settings) if record.exists() else []

    def there(self, ids: Sequence[str]) -> int:
        """How many of the images have a product, whole or not, in any form."""
        names = _names(self.folder, ids)
        return sum(any(f"{image_id}{suffix}" in names for suffix in (self.suffix, *self.others)) for image_id in ids)

    def fill(self, ids: Sequence[str], make: Make, ranks: Ranks, *, title: str, overwrite: bool = False) -> None:
        """Makes the products that are missing, were changed, or were made from another image; leaves the rest alone.

        An old file stays until the new one is whole and replaces it. With `overwrite` all products are out of date. A
        call that was interrupted is continued by the next one, with or without `overwrite`.

        Raises:
            InputError: the products were made with other settings, and `overwrite` is false; or another process is
                filling the folder.
        """
        with self.filling(ids, make, ranks, overwrite=overwrite) as (todo, keep):
            for _ in progress(make(todo, keep), title, total=len(todo), visible=ranks.first):
                pass

    @contextmanager
    def filling(
        self, ids: Sequence[str], make: Make, ranks: Ranks, *, overwrite: bool = False
    ) -> Iterator[tuple[Sequence[str], Keep]]:
        """As `fill`, for a caller that makes the products inside: gives the ids of which one is due, and the Keep.

        `make` is asked for at most one product, see `_begin`. What is not kept inside is due again in the next call.

        Raises:
            InputError: as `fill`.
        """
        with only_writer(self.folder, wanted=ranks.first):
            tried = self._begin(ids, make, overwrite=overwrite) if ranks.first else {}
            ranks.wait()
            known = self.ledger.read()
            if known is None:
                raise InputError(f"{self.ledger.path}: is gone since this began; is another process at work here?")
            mine = ranks.share(ids)
            problems = self._problems(known, mine)
            todo = [image_id for image_id in mine if image_id in problems]
            paths = {image_id: self.path(image_id) for image_id in todo}
            changed = [f"{path.name} ({problems[image_id]})" for image_id, path in paths.items() if path.exists()]
            if changed:
                log.warning(f"{self.folder}: {len(changed)} files are made anew: {some(changed)}")
            start, made = time.monotonic(), list[str]()
            with self.ledger.add(known.token, ranks.rank) as additions:
                for moved in known.moved:
                    additions.enter(moved)

                def keep(image_id: str, data: bytes) -> None:
                    self._keep(additions, image_id, data)
                    made.append(image_id)

                for image_id, data in tried.items():
                    keep(image_id, data)
                yield [image_id for image_id in todo if image_id not in tried], keep
                anew, seconds = len(made) - len(tried), max(time.monotonic() - start, 1e-9)
                if anew:
                    additions.took(anew, seconds)
            rate = f" ({anew / seconds:.2f} images/s)" if anew else ""
            ranks.wait()
            if ranks.first:
                self.ledger.join()
            log.info(f"{self.folder}: {len(made)} made, {len(mine) - len(todo)} were there{rate}")

    def _begin(self, ids: Sequence[str], make: Make, *, overwrite: bool) -> dict[str, bytes]:
        """Opens the folder. Existing files are declared out of date only after a new one could be made.

        Returns:
            The content of that file by its id; empty where none had to be tried.
        """
        for folder in {self.path(image_id).parent for image_id in ids}:
            remove_orphans(folder)
        remove_orphans(self.ledger.path.parent, of=self.ledger.path.name.removesuffix(ENDING))
        self.refuse_mixture(ids, overwrite=overwrite)
        expected = {f"{image_id}{suffix}" for image_id in ids for suffix in (self.suffix, *self.others)}
        foreign = sorted(
            name
            for name in _names(self.folder, ids)
            if name not in expected and not name.rpartition("/")[2].startswith(".")
        )
        if foreign:
            log.warning(f"{self.folder}: {len(foreign)} files of no image are left alone: {some(foreign)}")
        known, record = self.ledger.read(), self.ledger.settings
        digest, tried = digest_of(self.settings), dict[str, bytes]()
        if not overwrite and record.exists() and known is not None and known.settings == digest:
            return tried
        for image_id in ids if self.there(ids) else ():
            for _ in make([image_id], tried.__setitem__):
                pass
            if tried:
                break
        self.ledger.open(digest)
        write_json(record, self.settings)
        return tried

    def _problems(self, known: Known, ids: Sequence[str]) -> dict[str, str]:
        """What is wrong with the file of an image, by id, for the images where anything is."""

        def look(image_id: str) -> str | None:
            problem = known.problem(
                self.path(image_id),
                sources=self.sources(image_id),
                name=self._name(image_id),
                given=self.given(image_id),
            )
            double = next((path for path in self._in_other_forms(image_id) if path.exists()), None)
            if problem is None and double is not None:
                raise InputError(
                    f"{self.path(image_id)}: {double.name} lies beside it: which of them counts? delete one of the two"
                )
            return problem

        with ThreadPoolExecutor() as pool:
            problems = zip(ids, pool.map(look, ids), strict=True)
            return {image_id: problem for image_id, problem in problems if problem is not None}

    def _keep(self, additions: Additions, image_id: str, data: bytes) -> None:
        path = self.path(image_id)
        sources = tuple(Mark.of(source) for source in self.sources(image_id))
        write_atomically(path, data)
        for other in self._in_other_forms(image_id):
            with writing(other):
                other.unlink(missing_ok=True)
        additions.enter(Made(self._name(image_id), Mark.of(path, data), sources, self.given(image_id)))

    def _name(self, image_id: str) -> str:
        """Of its file in the ledger."""
        return f"{image_id}{self.suffix}"

    def _in_other_forms(self, image_id: str) -> list[Path]:
        return [self.folder / f"{image_id}{suffix}" for suffix in self.others]


def differing_keys(known: object, settings: Mapping[str, object]) -> list[str]:
    """Keys in which stored settings differ from these; ["all"] where they are none."""
    if not isinstance(known, dict):
        return ["all"]
    plain: dict[str, Any] = json.loads(json.dumps(settings))
    return [key for key in (*plain, *(known.keys() - plain.keys())) if known.get(key, ...) != plain.get(key, ...)]


def _names(folder: Path, ids: Sequence[str]) -> set[str]:
    """Names of what lies in the folders that hold products of these ids, as paths below `folder`."""
    below = {image_id.rpartition("/")[0] for image_id in ids} | {""}
    inner = {parent for path in below for parent in (path, *map(str, PurePosixPath(path).parents))}
    return {
        name
        for path in below
        if (folder / path).is_dir()
        for name in (f"{path}/{entry}".lstrip("/") for entry in os.listdir(folder / path))
        if name not in inner
    }
