"""What is trained on must not be scored on: images that two splits share, by name or by content."""

from collections.abc import Iterator, Sequence

import numpy as np

from dhr.dataset.audit.finding import Finding, Notes
from dhr.dataset.audit.split import SplitAudit
from dhr.disk.layout import DataLayout

TRAINED = frozenset({"train", "train_aug"})
SCORED = frozenset({"validation", "test"})


def overlaps(audits: Sequence[SplitAudit], layout: DataLayout, *, train: str, validation: str) -> Iterator[Finding]:
    """Images of a split to train on that are in a split to score on too.

    Args:
        audits: of all splits.
        layout: where they lie.
        train: the split that is trained on.
        validation: the split that is scored on.
    """
    trained = [audit for audit in audits if audit.name in {*TRAINED, train} - {validation}]
    scored = [audit for audit in audits if audit.name in {*SCORED, validation} - {train}]
    for one in trained:
        for other in scored:
            notes = Notes(one.name)
            _note_same_ids(one, other, layout, notes)
            _note_same_content(one, other, layout, notes)
            yield from notes.found


def _note_same_ids(one: SplitAudit, other: SplitAudit, layout: DataLayout, notes: Notes) -> None:
    for name in np.intersect1d(one.listing.ids, other.listing.ids):
        image_id = bytes(name).decode()
        problem = f"this id is in {other.name} too: it would be trained on and scored on"
        path, cure = layout.image(one.name, image_id), "take it out of one of the two"
        notes.broken("id in two splits", path, problem, cure, image_id=image_id)


def _note_same_content(one: SplitAudit, other: SplitAudit, layout: DataLayout, notes: Notes) -> None:
    """Adds a remark for equal image files under two names."""
    positions = np.flatnonzero(np.isin(one.digests, other.digests[other.digests > 0]))
    for position in positions:
        twin = int(np.argmax(other.digests == one.digests[position]))
        image_id, twin_id = bytes(one.listing.ids[position]).decode(), bytes(other.listing.ids[twin]).decode()
        if image_id != twin_id:
            problem = f"the same picture as {layout.image(other.name, twin_id)}"
            cure = "take it out of one of the two splits"
            notes.remark("picture in two splits", layout.image(one.name, image_id), problem, cure, image_id=image_id)
