"""A folder of products as a later stage finds it. Imports no torch."""

import contextlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from dhr.core.errors import InputError
from dhr.disk.atomic import read_json
from dhr.disk.ledger import Known, Ledger, digest_of
from dhr.disk.writing import UnwritableError

SHOWN = 5  # files named in one message


@dataclass(frozen=True)
class Products:
    """Files that have to be those that a stage made, if it left a ledger beside their folder.

    Attributes:
        ledger: of the folder.
        known: what it says; None for a folder without one, whose files are taken as they are.
        cure: how to make them anew, for messages.
    """

    ledger: Ledger
    known: Known | None
    cure: str

    @classmethod
    def at(cls, folder: Path, cure: str) -> Self:
        """The products of a folder."""
        places = (Ledger(folder), Ledger(folder.resolve()))  # of a link, the ledger lies beside what it leads to
        ledger = next((ledger for ledger in places if ledger.path.is_file()), places[0])
        return cls(ledger, ledger.read(), cure)

    def problem(self, path: Path, *, thorough: bool = False) -> str | None:
        """What is wrong with a file; None if nothing is, or if the folder has no ledger."""
        return None if self.known is None else self.known.problem(path, thorough=thorough)

    def check(self, path: Path) -> None:
        """Refuses a file that is not what was made.

        Raises:
            InputError: it is not.
        """
        problem = self.problem(path)
        if problem is not None:
            raise InputError(f"{path}: {problem}; {self._cures()}")

    def check_all(self, paths: Sequence[Path]) -> None:
        """Refuses files that are not what was made.

        Raises:
            InputError: names the first of them.
        """
        self.check_settings()
        with ThreadPoolExecutor() as pool:
            problems = zip(paths, pool.map(self.problem, paths), strict=True)
            changed = [f"{path.name} ({problem})" for path, problem in problems if problem is not None]
        if changed:
            files = f"{len(changed)} files changed since: {some(changed)}"
            raise InputError(f"{self.ledger.folder}: {files}; {self._cures()}")
        self.remember()

    def check_settings(self) -> None:
        """Refuses a folder whose settings are not those that its files were made with.

        Raises:
            InputError: they are not: making them anew was interrupted at its very start, or somebody changed them.
        """
        settings = self.ledger.settings
        if self.known is None or not settings.is_file():
            return
        if digest_of(read_json(settings)) != self.known.settings:
            raise InputError(f"{settings}: not what the files of {self.known.path} were made with; {self._cures()}")

    def remember(self) -> None:
        """Enters the new stamps of a copied folder, so that its files are read only once; not if it is read-only."""
        if self.known is None or not self.known.moved:
            return
        with contextlib.suppress(UnwritableError):
            with self.ledger.add(self.known.token, 0) as additions:
                for made in self.known.moved:
                    additions.enter(made)
            self.ledger.join()

    def _cures(self) -> str:
        return f"{self.cure}; if you changed it yourself, delete {self.ledger.path}"


def some(names: Sequence[str]) -> str:
    """The first of many names, and how many more there are."""
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
