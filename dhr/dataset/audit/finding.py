"""What an audit finds: one thing that is wrong with one file, how such things are collected, grouped and shown."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

from dhr.disk.file_names import printable
from dhr.disk.reading import BadFileError

Severity = Literal["broken", "remark"]
CURE = 200  # letters of a cure in the log
T = TypeVar("T")


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        severity: "broken" stops a stage or spoils what it makes; "remark" is worth knowing.
        kind: what is wrong in two words, equal for all files with the same problem.
        split: name of the split.
        id: of the image; empty where it is about the whole split.
        file: path of the file.
        problem: what is wrong with this file, with the value.
        cure: what to do.
    """

    severity: Severity
    kind: str
    split: str
    id: str
    file: str
    problem: str
    cure: str


@dataclass(frozen=True)
class Notes:
    """Collects what is wrong in one split, or with one image of it."""

    split: str
    id: str = ""
    found: list[Finding] = field(default_factory=list)

    def broken(self, kind: str, file: Path, problem: str, cure: str, *, image_id: str | None = None) -> None:
        """Adds something that stops a stage or spoils what it makes."""
        self._add("broken", kind, file, problem, cure, self.id if image_id is None else image_id)

    def remark(self, kind: str, file: Path, problem: str, cure: str, *, image_id: str | None = None) -> None:
        """Adds something worth knowing."""
        self._add("remark", kind, file, problem, cure, self.id if image_id is None else image_id)

    def attempt(self, work: Callable[[], T]) -> T | None:
        """The result of `work`; None where a file is bad, which is added."""
        try:
            return work()
        except BadFileError as error:
            self.broken(error.kind, error.path, error.problem, error.cure)
            return None

    def _add(self, severity: Severity, kind: str, file: Path, problem: str, cure: str, image_id: str) -> None:
        self.found.append(Finding(severity, kind, self.split, printable(image_id), printable(str(file)), problem, cure))


@dataclass(frozen=True)
class Kind:
    """All findings of one severity and kind, in the order in which they were made."""

    severity: Severity
    name: str
    findings: Sequence[Finding]

    @property
    def first(self) -> Finding:
        """The one that stands for all of them in short lists."""
        return self.findings[0]

    def line(self) -> str:
        """One line for the log."""
        cure = self.first.cure if len(self.first.cure) <= CURE else f"{self.first.cure[: CURE - 3]}..."
        count = f"{len(self.findings):,}"
        return f"{self.severity}: {self.name}: {count} (first: {self.first.file}: {self.first.problem}); {cure}"


def kinds_of(findings: Iterable[Finding]) -> list[Kind]:
    """Findings by kind: what is broken first, then the most frequent ones."""
    groups: dict[tuple[Severity, str], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.severity, finding.kind), []).append(finding)
    kinds = [Kind(severity, name, group) for (severity, name), group in groups.items()]
    return sorted(kinds, key=lambda kind: (kind.severity, -len(kind.findings), kind.name))


def severities(findings: Iterable[Finding]) -> Counter[str]:
    """How many are broken, how many are remarks."""
    return Counter(finding.severity for finding in findings)


def problem_of(error: Exception, path: Path) -> str:
    """The problem that an error names, without the path before it and the cure behind it."""
    return str(error).removeprefix(f"{path}: ").partition(";")[0]
