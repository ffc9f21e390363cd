"""Pictures of a split: some images beside their masks."""

from collections.abc import Iterator

import numpy as np

from dhr.dataset.audit.split import SplitAudit
from dhr.disk.annotation import read_tags
from dhr.disk.image import read_image
from dhr.disk.mask import read_mask
from dhr.page.audit_record import Audited
from dhr.page.markup import Markup, element, join
from dhr.page.pictures import Row, draw
from dhr.page.scores import fold, note

EXAMPLES = 12  # per split


def example_section(audited: Audited) -> Markup:
    """Images of every split beside their masks, spread evenly over the ids of those with nothing broken."""
    parts = []
    for split in audited.splits:
        rows = list(_rows(split, audited))
        pictures = element("div", draw(rows, audited.table), class_="examples") if rows else note("No whole image.")
        parts.append(fold(split.name, pictures, is_open=split is audited.splits[0]))
    return join(parts)


def _rows(split: SplitAudit, audited: Audited) -> Iterator[Row]:
    broken = {
        finding.id for finding in audited.findings if finding.severity == "broken" and finding.split == split.name
    }
    whole = split.listing.ids[~np.isin(split.listing.ids, np.array([id.encode() for id in broken], dtype=np.bytes_))]
    spread = np.linspace(0, len(whole) - 1, min(EXAMPLES, len(whole))).round().astype(int)
    layout, names = audited.layout, audited.table.names[audited.table.first_tag :]
    for place in spread:
        id = bytes(whole[place]).decode()
        mask, tags = layout.mask(split.name, id), layout.tags(split.name, id)
        maps = {"truth": read_mask(mask)} if mask.is_file() else {}
        named = read_tags(tags, names) if tags.is_file() else []
        yield Row(id, read_image(layout.image(split.name, id)), maps, named)
