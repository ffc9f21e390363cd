"""What a stage made: <folder>.files.jsonl beside a folder of products, with length and digest of every file in it.

Every line is JSON. {"opened": token, "settings": digest} begins a making with these settings: files of earlier lines
are out of date. Every other line is one file with the token of its making; the last line of a name counts. While files
are made, every process only appends lines, to a ledger of its own, <folder>.files.<rank>.jsonl; these are joined at the
end. {"took": [images, seconds], "of": token} says how long a process was at so many images. A killed process leaves at
most a torn line, which is skipped, and a file that is not entered, which is made again.
"""

import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO, Self

from dhr.disk.atomic import write_stream
from dhr.disk.mark import Mark
from dhr.disk.writing import writing

ENDING = "files.jsonl"
# What reading a line that is none can raise.
NO_LINE = (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError)


@dataclass(frozen=True)
class Made:
    """A file as it was made, the files it was made from, and what else made it what it is, such as tags.

    `name` is its path below the folder.
    """

    name: str
    file: Mark
    sources: tuple[Mark, ...] = ()
    given: str = ""

    def line(self, token: str) -> bytes:
        """As a line of a ledger."""
        values = {"name": self.name, "of": token, "file": self.file, "from": self.sources}
        values |= {"given": self.given} if self.given else {}
        return (json.dumps(values, separators=(",", ":")) + "\n").encode()

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """From the values of a line; raises one of NO_LINE where it is none."""
        sources = tuple(map(Mark.parse, values["from"]))
        return cls(str(values["name"]), Mark.parse(values["file"]), sources, str(values.get("given", "")))


@dataclass(frozen=True)
class Known:
    """What a ledger says.

    Attributes:
        path: of the ledger.
        token: of the last making.
        settings: digest of its settings.
        files: name -> what was made under it by the last making.
        outdated: names of files that only earlier makings made.
        moved: files whose content is the same but whose stamps changed; filled by `problem`.
        took: images that calls of the last making made to their end, and the seconds these took, of all processes.
    """

    path: Path
    token: str
    settings: str
    files: Mapping[str, Made]
    outdated: frozenset[str]
    moved: list[Made] = field(default_factory=list)
    took: tuple[int, float] = (0, 0.0)

    @property
    def seconds(self) -> float | None:
        """Of one process for one image; None where no call came to its end."""
        return self.took[1] / self.took[0] if self.took[0] else None

    def problem(
        self,
        file: Path,
        *,
        sources: Sequence[Path] = (),
        thorough: bool = False,
        name: str | None = None,
        given: str | None = None,
    ) -> str | None:
        """What is wrong with a file, None where it is as it was made.

        Args:
            file: whose name the ledger may know.
            sources: what it has to be made from; () asks only for the file.
            thorough: reads the file even where its length and stamps are unchanged.
            name: its path below the folder, where that is more than its name.
            given: what else it has to be made with; None does not ask.
        """
        name = file.name if name is None else name
        made = self.files.get(name)
        if made is None:
            return "made with other settings" if name in self.outdated else f"not in {self.path.name}"
        now = made.file.compared(file, thorough=thorough)
        if isinstance(now, str):
            return now
        if given is not None and given != made.given:
            return f"made with {made.given or 'nothing'} given, not {given or 'nothing'}"
        if sources and len(sources) != len(made.sources):
            return "made from other files"
        before = made.sources if sources else ()
        marks = [mark.compared(source) for mark, source in zip(before, sources, strict=True)]
        changed = next((source for mark, source in zip(marks, sources, strict=False) if isinstance(mark, str)), None)
        if changed is not None:
            return f"made from another {changed.name}"
        same = Made(made.name, now, tuple(mark for mark in marks if isinstance(mark, Mark)) or made.sources, made.given)
        if same != made:
            self.moved.append(same)
        return None


@dataclass(frozen=True)
class Ledger:
    """The ledger of a folder of products."""

    folder: Path

    @property
    def path(self) -> Path:
        """Where it lies."""
        return _beside(self.folder, ENDING)

    @property
    def settings(self) -> Path:
        """Where the settings lie that the products were made with."""
        return _beside(self.folder, "json")

    def read(self) -> Known | None:
        """What it says, None where there is none."""
        token, digest = "", ""
        files: dict[str, Made] = {}
        names: set[str] = set()
        took = (0, 0.0)
        for values in self._lines():
            if "opened" in values:
                token, digest, files, took = values["opened"], values["settings"], {}, (0, 0.0)
                continue
            try:
                if "took" in values:
                    took = _added(took, values["took"]) if values["of"] == token else took
                    continue
                made = Made.parse(values)
            except NO_LINE:
                continue
            names.add(made.name)
            if values.get("of") == token:
                files[made.name] = made
        return Known(self.path, token, digest, files, frozenset(names - files.keys()), took=took) if token else None

    def open(self, settings: str) -> None:
        """Begins a making: what was made before is out of date."""
        before = b"".join(_text(values) for values in self._lines())
        self._rewrite([before, _text({"opened": secrets.token_hex(6), "settings": settings})])

    def add(self, token: str, rank: int) -> "Additions":
        """Opens the ledger of a process for what it makes."""
        return Additions(_beside(self.folder, f"files.{rank}.jsonl"), token)

    def join(self) -> None:
        """Makes one ledger of those of all processes; nothing is done where there is one only."""
        known = self.read() if self._parts() else None
        if known is None:
            return
        opened = _text({"opened": known.token, "settings": known.settings})
        old = (_text({"name": name, "of": "", **_NOTHING}) for name in sorted(known.outdated))
        took = [_text({"took": known.took, "of": known.token})] if known.took[0] else []
        self._rewrite([*old, opened, *(known.files[name].line(known.token) for name in sorted(known.files)), *took])

    def _rewrite(self, lines: Sequence[bytes]) -> None:
        parts = self._parts()
        write_stream(self.path, lines)
        for part in parts:
            with writing(part):
                part.unlink(missing_ok=True)

    def _parts(self) -> list[Path]:
        """Ledgers of single processes."""
        pattern = re.compile(re.escape(f"{self.path.name.removesuffix(ENDING)}files.") + r"\d+\.jsonl")
        folder = self.path.parent
        names = os.listdir(folder) if folder.is_dir() else []
        return sorted(folder / name for name in names if pattern.fullmatch(name))

    def _lines(self) -> Iterator[Mapping[str, Any]]:
        for path in (self.path, *self._parts()):
            if path.is_file():
                with path.open("rb") as file:
                    yield from filter(None, map(_values, file))


_NOTHING: Mapping[str, Any] = {"file": (0, "", 0, 0), "from": ()}  # of a file of which only the name counts


class Additions:
    """Takes what one process makes, from any of its threads."""

    def __init__(self, path: Path, token: str) -> None:
        self._path, self._token, self._lock = path, token, Lock()
        self._file: BinaryIO | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            with writing(self._path):
                self._file.close()

    def enter(self, made: Made) -> None:
        """Adds a file; the line survives the end of this process."""
        self._write(made.line(self._token))

    def took(self, images: int, seconds: float) -> None:
        """Adds how long some images took."""
        self._write(_text({"took": (images, seconds), "of": self._token}))

    def _write(self, line: bytes) -> None:
        with self._lock, writing(self._path):
            if self._file is None:
                self._file = self._path.open("ab")
                # Behind a line that a killed process left torn.
                self._file.write(b"\n" if self._path.stat().st_size else b"")
            self._file.write(line)
            self._file.flush()


def digest_of(settings: Mapping[str, object]) -> str:
    """Digest of settings, whatever the order of their keys."""
    text = json.dumps(settings, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _beside(folder: Path, ending: str) -> Path:
    """<folder>.<ending>, also for a folder that is given as "." or with ".." at its end."""
    folder = Path(os.path.abspath(folder)) if folder.name in {"", ".."} else folder
    return folder.parent / f"{folder.name}.{ending}"


def _added(took: tuple[int, float], more: Sequence[Any]) -> tuple[int, float]:
    return took[0] + int(more[0]), took[1] + float(more[1])


def _text(values: Mapping[str, Any]) -> bytes:
    return (json.dumps(values, separators=(",", ":")) + "\n").encode()


def _values(line: bytes) -> Mapping[str, Any] | None:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) else None
