"""The audit of one split: every image in one pass, in parallel, in memory that does not grow with their number."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np

from dhr.core.labels import IGNORE
from dhr.dataset.audit.finding import Finding, Notes
from dhr.dataset.audit.image import AGAIN, AuditedMasks, ImageAudit, ImageAuditor, Task
from dhr.dataset.audit.listing import Listing, list_split, list_stems, note_extra
from dhr.dataset.audit.made import note_changes, open_products
from dhr.dataset.audit.manifest_entries import open_manifest, pair
from dhr.dataset.classes import ClassTable
from dhr.disk.layout import DataLayout
from dhr.runtime.pools import map_ahead
from dhr.runtime.progress import progress

CHUNK = 32  # images per message between processes
ALONE = 64  # so few images are faster without further processes


@dataclass
class Statistics:
    """Sums over the images of a split; arrays by class index.

    Attributes:
        tagged: images that are tagged with the class.
        shown: images with pixels of the class.
        pixels: pixels of every label, 256 of them.
        tagged_images: images whose tags could be read.
        masked_images: images whose mask could be read.
    """

    tagged: np.ndarray
    shown: np.ndarray
    pixels: np.ndarray
    tagged_images: int = 0
    masked_images: int = 0

    @classmethod
    def empty(cls, classes: int) -> "Statistics":
        """Of no image."""
        return cls(np.zeros(classes, np.int64), np.zeros(classes, np.int64), np.zeros(IGNORE + 1, np.int64))

    def add(self, look: ImageAudit) -> None:
        """One more image."""
        if look.tags is not None:
            self.tagged_images += 1
            self.tagged[list(look.tags)] += 1
        if look.labels is not None:
            self.masked_images += 1
            self.pixels[list(look.labels)] += list(look.labels.values())
            self.shown[[label for label in look.labels if label != IGNORE]] += 1

    @property
    def shares(self) -> np.ndarray:
        """Share of every label among all pixels; zeros without a mask."""
        return self.pixels / max(1, int(self.pixels.sum()))


@dataclass(frozen=True)
class SplitAudit:
    """What is known of one split.

    Attributes:
        name: of the split.
        listing: its files.
        digests: (N) of the image files, in the order of the ids, 0 if unreadable.
        published: number of images it should have, None where that is not known.
        tags_from: from the manifest: where the tags come from, with the number of images each; None without one.
        statistics: sums over its images.
        findings: what is wrong.
    """

    name: str
    listing: Listing
    digests: np.ndarray
    published: int | None
    tags_from: Mapping[str, int] | None
    statistics: Statistics
    findings: Sequence[Finding]


@dataclass(frozen=True)
class SplitAuditor:
    """Audits splits of one data set.

    Attributes:
        layout: where it lies.
        table: its classes.
        pool: processes to work in; None for none.
        workers: how many these are.
    """

    layout: DataLayout
    table: ClassTable
    pool: ProcessPoolExecutor | None
    workers: int

    def audit(self, split: str, *, needs_tags: bool, needs_masks: bool, wss: AuditedMasks | None = None) -> SplitAudit:
        """Looks at all files of a split.

        Args:
            split: its name.
            needs_tags: whether something is learnt from it.
            needs_masks: whether something is scored on it.
            wss: masks of a WSS method for this split.
        """
        notes = Notes(split)
        folder, listing = self.layout.split(split), list_split(self.layout, split, notes)
        if not len(listing.ids):
            notes.broken("image: none", folder / "image", "no image in it", AGAIN)
        if needs_tags and not len(listing.tags):
            notes.broken("tags: none at all", folder / "xml", "no XML in it, so nothing can be learnt", AGAIN)
        if needs_masks and not len(listing.masks):
            cure = f"none needed to train and predict; else {AGAIN}"
            notes.remark("mask: none at all", folder / "mask", "no mask in it, so nothing can be scored", cure)
        wss = _list_given(wss, listing, notes)
        manifest = open_manifest(folder, self.table, notes)
        auditor = ImageAuditor(
            self.layout, split, self.table, has_masks=len(listing.masks) > 0, has_tags=len(listing.tags) > 0, wss=wss
        )
        tasks = pair(listing.files(), manifest, notes)
        statistics, digests = Statistics.empty(self.table.num_classes), np.zeros(len(listing.ids), np.uint64)
        looks = progress(self._looks(auditor, tasks, len(listing.ids)), f"audit {split}", total=len(listing.ids))
        for position, look in enumerate(looks):
            statistics.add(look)
            digests[position] = look.digest
            notes.found.extend(look.findings)
        images, published = len(listing.ids), self.table.sizes.get(split)
        if published is not None and images != published:
            problem = f"{images:,}, {'fewer' if images < published else 'more'} than the published {published:,}"
            cure = f"none needed for a part of the data set; else {AGAIN} with the whole download"
            notes.remark("number of images", folder, problem, cure)
        tags_from = None if manifest is None else manifest.header.tags_from
        return SplitAudit(split, listing, digests, published, tags_from, statistics, notes.found)

    def _looks(self, auditor: ImageAuditor, tasks: Iterator[Task], count: int) -> Iterator[ImageAudit]:
        chunks = iter(lambda: list(islice(tasks, CHUNK)), [])
        if self.pool is None or count <= ALONE:
            yield from chain.from_iterable(map(auditor.look_at, chunks))
        else:
            yield from chain.from_iterable(map_ahead(self.pool, auditor.look_at, chunks, workers=self.workers))


def _list_given(wss: AuditedMasks | None, listing: Listing, notes: Notes) -> AuditedMasks | None:
    """The WSS masks if their folder is there; masks of no image go into `notes`."""
    if wss is None:
        return None
    if not wss.folder.is_dir():
        notes.broken("WSS mask: no folder", wss.folder, "no such folder", wss.cure)
        return None
    note_extra(wss.folder, ".png", list_stems(wss.folder, ".png", notes), listing.ids, notes, what="WSS mask")
    made = open_products(wss.folder, wss.cure, "WSS mask", notes)
    note_changes(made, (image_id for image_id, _ in listing.files()), "WSS mask", notes)
    return wss
