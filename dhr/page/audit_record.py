"""An audit as JSON and as lines of the log."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dhr.core.labels import IGNORE
from dhr.dataset.audit.finding import Finding, Kind, kinds_of, severities
from dhr.dataset.audit.split import SplitAudit
from dhr.dataset.classes import ClassTable
from dhr.disk.file_names import printable
from dhr.disk.layout import DataLayout
from dhr.evaluation.tables import NOTHING, count

HEAD = ("split", "images", "published", "masks", "XML files", "broken", "remarks", "tags from")


@dataclass(frozen=True)
class Audited:
    """Everything that an audit found.

    Attributes:
        dataset: its name.
        layout: where it lies.
        table: its classes.
        splits: those that were looked at.
        findings: of all splits and between them.
        command: as typed.
    """

    dataset: str
    layout: DataLayout
    table: ClassTable
    splits: Sequence[SplitAudit]
    findings: Sequence[Finding]
    command: str

    @property
    def kinds(self) -> list[Kind]:
        """The findings by kind, what is broken first."""
        return kinds_of(self.findings)


def record_of(audited: Audited) -> dict[str, Any]:
    """All of it as JSON values; every finding is in it."""
    counts = severities(audited.findings)
    return {
        "dataset": audited.dataset,
        "folder": printable(str(audited.layout.home)),
        "command": printable(audited.command),
        "broken": counts["broken"],
        "remarks": counts["remark"],
        "kinds": [
            {"severity": kind.severity, "kind": kind.name, "count": len(kind.findings)} for kind in audited.kinds
        ],
        "splits": [_split_record(split, audited) for split in audited.splits],
        "findings": [asdict(finding) for finding in audited.findings],
    }


def _split_record(split: SplitAudit, audited: Audited) -> dict[str, Any]:
    statistics, counts = split.statistics, _counts(split, audited)
    return {
        "split": split.name,
        "images": len(split.listing.ids),
        "published": split.published,
        "masks": len(split.listing.masks),
        "tags": len(split.listing.tags),
        "broken": counts["broken"],
        "remarks": counts["remark"],
        "tags_from": split.tags_from,
        "ignored_share": float(statistics.shares[IGNORE]),
        "classes": [
            {
                "name": name,
                "tagged_images": int(statistics.tagged[index]),
                "images_with_pixels": int(statistics.shown[index]),
                "pixels": int(statistics.pixels[index]),
                "pixel_share": float(statistics.shares[index]),
            }
            for index, name in enumerate(audited.table.names)
        ],
    }


def split_rows(audited: Audited) -> list[list[str]]:
    """The cells below HEAD as text, one row per split."""
    rows = []
    for split in audited.splits:
        listing, counts = split.listing, _counts(split, audited)
        files = [len(listing.ids), split.published, len(listing.masks), len(listing.tags)]
        numbers = [count(number) for number in (*files, counts["broken"], counts["remark"])]
        rows.append([split.name, *numbers, origins(split.tags_from)])
    return rows


def _counts(split: SplitAudit, audited: Audited) -> Mapping[str, int]:
    return severities(finding for finding in audited.findings if finding.split == split.name)


def origins(tags_from: object) -> str:
    """Where the tags come from by the manifest, such as "xml 10,582"; a dash where it does not say."""
    if not isinstance(tags_from, Mapping):
        return NOTHING
    return ", ".join(f"{name} {count(number)}" for name, number in tags_from.items()) or NOTHING


def log_lines(audited: Audited) -> list[str]:
    """The table of the splits, and one line per kind of finding."""
    rows = [list(HEAD), *split_rows(audited)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    numbers = len(HEAD) - 2  # between the first and the last column, which are text
    aligned: list[Callable[[str, int], str]] = [str.ljust, *[str.rjust] * numbers, str.ljust]
    cells = [[align(cell, width) for align, cell, width in zip(aligned, row, widths, strict=True)] for row in rows]
    table = ["  ".join(row).rstrip() for row in cells]
    return [*table, *(kind.line() for kind in audited.kinds)] if audited.kinds else [*table, "nothing is wrong"]
