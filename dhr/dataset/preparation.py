"""From an original download, or from nothing for the toy set, to the layout that every other stage reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dhr.artifacts import DataLayout
from dhr.dataset import toy, voc
from dhr.dataset.classes import ClassTable, load_classes
from dhr.dataset.examples import Example, SplitCounts, Transfer, check_examples, write_examples
from dhr.errors import InputError


@dataclass(frozen=True)
class Generate:
    """How the toy set is made: images per split, side of the images in pixels, seed."""

    splits: Mapping[str, int]
    image_size: int = 96
    seed: int = 7


@dataclass(frozen=True)
class Preparation:
    """What now lies on disk: the folder of the data set, counts per split, and remarks the user has to see."""

    folder: Path
    splits: Mapping[str, SplitCounts]
    remarks: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """Return the summary to show, one sentence per line."""
        counts = [
            f"{self.folder / split}: {found.images} images, tags of {found.tags_from_xml} from XML and of "
            f"{found.tags_from_mask} from masks"
            for split, found in self.splits.items()
        ]
        return [*counts, *self.remarks]


def prepare(
    dataset: str,
    data: Path,
    *,
    source: Path | None = None,
    aug: Path | None = None,
    transfer: Transfer = "link",
    generate: Generate | None = None,
) -> Preparation:
    """Bring a data set into the layout below `data`; run again, it only adds what is missing.

    Args:
        dataset: "toy" or "voc".
        data: folder of all data sets.
        source: folder of the original download; not for toy.
        aug: voc: folder SegmentationClassAug, where it is not inside `source`.
        transfer: "link" for hard links where possible, "copy" for copies.
        generate: how to make the toy set; only for toy.

    Raises:
        InputError: the data set has no original form that is known here, or its source is missing or incomplete. This
            is found out before anything is written, but for unreadable masks and annotations.
    """
    if transfer not in ("link", "copy"):
        raise InputError(f"transfer: {transfer}: use link or copy")
    if dataset == "toy":
        return _prepare_toy(data, generate)
    if dataset == "voc":
        return _prepare_voc(data, source, aug, transfer)
    raise InputError(
        f"dataset: {dataset}: cannot be made from an original download; use one of toy, voc, or lay it out as "
        "<data>/<folder>/<split>/{image,mask,xml}"
    )


def _prepare_toy(data: Path, generate: Generate | None) -> Preparation:
    if generate is None:
        raise InputError(
            "dataset.generate: null: how many images to make? give numbers, as configs/dataset/toy.yaml does"
        )
    toy.write_toy(data, splits=generate.splits, image_size=generate.image_size, seed=generate.seed)
    counts = {split: SplitCounts(images, 0, images) for split, images in generate.splits.items()}
    return Preparation(data / toy.FOLDER, counts)


def _prepare_voc(data: Path, source: Path | None, aug: Path | None, transfer: Transfer) -> Preparation:
    if source is None:
        raise InputError("source: null: where is the download? use source=<folder VOCdevkit>")
    counts = _write_splits(DataLayout(data, voc.FOLDER), load_classes("voc"), voc.voc_examples(source, aug), transfer)
    published = load_classes("voc").sizes
    remarks = [
        f"{split} has {found.images} of {published[split]} published images"
        for split, found in counts.items()
        if found.images != published[split]
    ]
    if voc.find_augmented(voc.find_voc(source), aug) is None:
        remarks.append(f"train_aug is train only: there is no {voc.AUGMENTED}; use aug=<that folder> to have all of it")
    return Preparation(data / voc.FOLDER, counts, tuple(remarks))


def _write_splits(
    layout: DataLayout, table: ClassTable, splits: Mapping[str, Sequence[Example]], transfer: Transfer
) -> dict[str, SplitCounts]:
    """Check all splits, then write them."""
    for split, examples in splits.items():
        check_examples(layout, split, examples)
    return {
        split: write_examples(layout, split, examples, table, transfer=transfer) for split, examples in splits.items()
    }
