"""From an original download, or from nothing for the toy set, to the layout that every other stage reads."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from dhr.core.errors import InputError
from dhr.core.labels import IGNORE, OWN
from dhr.dataset.classes import ClassTable, classes_of, load_classes, own_table, read_names
from dhr.dataset.original.archives import Staging
from dhr.dataset.original.interface import Brought, Download, Given, Original, Roots
from dhr.dataset.original.layout import find_laid_out
from dhr.dataset.prepare.place import Placement, Transfer
from dhr.dataset.prepare.split import check_foreign, check_originals, write_split
from dhr.dataset.toy import toy_set as toy
from dhr.disk.atomic import write_json
from dhr.disk.layout import DataLayout
from dhr.disk.manifest import Header
from dhr.runtime.pools import cores

STAGING = ".unpacked"  # in the data folder: on the same disk, so that what is unpacked can be linked


@dataclass(frozen=True)
class Generate:
    """How the toy set is made: images per split, side of the images in pixels, seed."""

    splits: Mapping[str, int]
    image_size: int = 96
    seed: int = 7


@dataclass(frozen=True)
class Sources:
    """What the user gave: folders or archives, and the class order of the masks where several are in use.

    Or `images` of the user's own, with what was `brought` beside them.
    """

    source: Path | None = None
    sbd: Path | None = None
    aug: Path | None = None
    class_order: str | None = None
    images: Path | None = None
    brought: Brought | None = None


@dataclass(frozen=True)
class Preparation:
    """What now lies on disk: the folder of the data set, a header per split, and remarks the user has to see."""

    folder: Path
    splits: Mapping[str, Header]
    remarks: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """The summary to show, one sentence per line."""
        counts = []
        for split, header in self.splits.items():
            origins = ", ".join(f"{count} from {origin}" for origin, count in header.tags_from.items())
            counts.append(f"{self.folder / split}: {header.images} images; tags: {origins}")
        return [*counts, *self.remarks]


@dataclass(frozen=True)
class Preparer:
    """Brings one data set into the layout; run again, it only adds what is missing.

    Attributes:
        name: of the data set.
        layout: where it belongs.
        table: its classes; None: those that the images of the user's own are tagged with.
        download: reader of its download, None where it has no other form than ours.
        transfer: "link" for links where possible, "copy" for copies.
        workers: processes; None for one per core.
        limit: so many images of every split, spread evenly over its ids; None for all.
        longest: side in pixels that larger images of the user's own are brought down to; None for none.
    """

    name: str
    layout: DataLayout
    table: ClassTable | None
    download: Download | None
    transfer: Transfer = "link"
    workers: int | None = None
    limit: int | None = None
    longest: int | None = None

    def __call__(self, sources: Sources) -> Preparation:
        """Prepares every split that the sources hold.

        Raises:
            InputError: sources are missing, incomplete or broken. A wrong folder, list or archive is found out before
                anything is written; of broken images the first are named once all others are in place.
        """
        staging = Staging(self.layout.root / STAGING)
        try:
            original = self._open(sources, staging)
            table = self._table(original)
            job = Placement(original, self.layout, table, self.transfer, staging.folder, self.limit, self.longest)
            for split in original.splits:
                check_originals(job, split)
                check_foreign(job, split)
            self._note_order(original, table)
        except BaseException:
            staging.clear()
            raise
        workers = cores() if self.workers is None else self.workers
        headers = {split: write_split(job, self.name, split, workers=workers) for split in original.splits}
        staging.clear()
        chosen = [
            f"{split}: {limit} of {len(ids)} images, limit={limit}"
            for split, ids in original.splits.items()
            if (limit := job.limit_of(split)) is not None
        ]
        other_sizes = [
            f"{split} has {header.images} of {published} published images"
            for split, header in headers.items()
            if (published := table.sizes.get(split)) not in (None, header.images)
        ]
        remarks = (*original.remarks, *chosen, *original.left_out, *other_sizes)
        return Preparation(self.layout.home, headers, remarks)

    def _open(self, sources: Sources, staging: Staging) -> Original:
        """The download; archives in its folder are unpacked where it cannot do without them."""
        if sources.images is not None and self.download is not None:
            return self.download.open(Given(staging.roots("images", sources.images), brought=sources.brought))
        if sources.source is None:
            own = find_laid_out(Roots("paths.data", (self.layout.home,)), self.layout.folder)
            if own is None:
                raise InputError(
                    f"source: null: where is the download? use source=<its folder or archive>, or lay the data out as "
                    f"{self.layout.home}/<split>/{{image,mask,xml}}"
                )
            return own
        given = self._given(sources, staging)
        laid_out = find_laid_out(given.source, self.layout.folder)
        if laid_out is not None:
            return laid_out
        if self.download is None:
            raise InputError(f"{given.source.argument}: no folder {self.layout.folder}/<split>/image in it")
        try:
            return self.download.open(given)
        except InputError:
            wider = replace(given, source=staging.with_archives(given.source))
            if wider.source == given.source:
                raise
            return find_laid_out(wider.source, self.layout.folder) or self.download.open(wider)

    def _given(self, sources: Sources, staging: Staging) -> Given:
        assert sources.source is not None
        takes = frozenset() if self.download is None else self.download.takes
        for key in ("sbd", "aug", "class_order"):
            value = getattr(sources, key)
            if value is not None and key not in takes:
                raise InputError(f"{key}: {value}: dataset={self.name} has no use for it; leave it out")
        return Given(
            source=staging.roots("source", sources.source),
            sbd=None if sources.sbd is None else staging.roots("sbd", sources.sbd),
            aug=None if sources.aug is None else staging.roots("aug", sources.aug),
            class_order=sources.class_order,
        )

    def _table(self, original: Original) -> ClassTable:
        """Our classes in the order of the masks, or those of the user's own images.

        Raises:
            InputError: the folder holds masks of another order, or the names are not those of our classes.
        """
        folder = self.layout.home
        noted, path = read_names(folder), folder / f"{folder.name}.json"
        names = original.names or noted
        if names is None:
            return classes_of(folder, OWN) if self.table is None else self.table
        if self.table is None:
            if noted not in (None, names):
                cure = f"use classes={','.join(noted[1:])} or another name"
                raise InputError(f"{path}: its classes are {', '.join(noted[1:])}, not {', '.join(names[1:])}; {cure}")
            return own_table(names, path)
        table = self.table.reordered(names, path)
        if noted is not None and self.table.reordered(noted, path).names != table.names:
            raise InputError(f"{path}: states another class order than the download; move the folder {folder} away")
        return table

    def _note_order(self, original: Original, table: ClassTable) -> None:
        """Notes the order of the classes beside the masks where several are in use, as with classes of one's own."""
        folder = self.layout.home
        if original.names is not None and read_names(folder) is None:
            write_json(folder / f"{folder.name}.json", {"names": list(table.names), "ignore": IGNORE})


def prepare_toy(data: Path, generate: Generate) -> Preparation:
    """Draws the toy set, with a manifest per split; run again, it only adds what is missing.

    Raises:
        InputError: the folder holds a toy set made otherwise.
    """
    toy.write_toy(data, splits=generate.splits, image_size=generate.image_size, seed=generate.seed)
    return Preparer("toy", DataLayout(data, toy.FOLDER), load_classes("toy"), download=None)(Sources())
