"""The page of an audit: one HTML file that needs no network, no script and no other file."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dhr.core.labels import IGNORE
from dhr.dataset.audit.finding import severities
from dhr.dataset.audit.split import SplitAudit, Statistics
from dhr.dataset.classes import ClassTable
from dhr.disk.annotation import read_tags
from dhr.disk.image import read_image
from dhr.disk.mask import read_mask
from dhr.page.audit_record import HEAD, Audited, split_rows
from dhr.page.pictures import Row, draw
from dhr.page.render import render

LISTED = 20  # findings of one kind on the page; all are in audit.json
OPEN = 5  # findings of a kind up to which they are not folded away
MANY = 40  # classes from which on all of them are folded away, below the most frequent and the rarest
RARE = 20  # classes in each of these two
EXAMPLES = 12  # per split


@dataclass(frozen=True)
class AuditedClasses:
    """Class indices of one split. Where `ends`, shorter lists by title, is not empty, the full table is folded away."""

    split: str
    statistics: Statistics
    order: Sequence[int]
    absent: Sequence[int]
    ends: Mapping[str, Sequence[int]]


def page_of(audited: Audited) -> bytes:
    """The whole page; the same files give the same bytes."""
    return render(
        "audit.html.j2",
        audited=audited,
        images=sum(len(split.listing.ids) for split in audited.splits),
        counts=severities(audited.findings),
        head=HEAD,
        split_rows=split_rows(audited),
        listed=LISTED,
        open=OPEN,
        ignore=IGNORE,
        classes=[
            _classes(split, audited.table)
            for split in audited.splits
            if split.statistics.tagged_images or split.statistics.masked_images
        ],
        examples={split.name: draw(list(_examples(split, audited)), audited.table) for split in audited.splits},
    )


def _classes(split: SplitAudit, table: ClassTable) -> AuditedClasses:
    """The classes of a split without the background, the one with the most images first."""
    statistics = split.statistics
    images = statistics.tagged if statistics.tagged_images else statistics.shown
    classes = range(table.first_tag, table.num_classes)
    present = [index for index in classes if statistics.tagged[index] or statistics.pixels[index]]
    order = sorted(present, key=lambda index: (-images[index], index))
    ends = {f"The {RARE} most frequent classes": order[:RARE], f"The {RARE} rarest classes": order[-RARE:]}
    absent = [index for index in classes if index not in present]
    return AuditedClasses(split.name, statistics, order, absent, ends if len(order) > MANY else {})


def _examples(split: SplitAudit, audited: Audited) -> Iterator[Row]:
    """Images of a split beside their masks, spread evenly over the ids of those with nothing broken."""
    broken = {
        finding.id for finding in audited.findings if finding.severity == "broken" and finding.split == split.name
    }
    whole = split.listing.ids[
        ~np.isin(split.listing.ids, np.array([image_id.encode() for image_id in broken], dtype=np.bytes_))
    ]
    positions = np.linspace(0, len(whole) - 1, min(EXAMPLES, len(whole))).round().astype(int)
    layout, names = audited.layout, audited.table.names[audited.table.first_tag :]
    for position in positions:
        image_id = bytes(whole[position]).decode()
        mask, annotation = layout.mask(split.name, image_id), layout.tags(split.name, image_id)
        maps = {"truth": read_mask(mask)} if mask.is_file() else {}
        tags = read_tags(annotation, names) if annotation.is_file() else []
        yield Row(image_id, read_image(layout.image(split.name, image_id)), maps, tags)
