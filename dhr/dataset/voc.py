"""PASCAL VOC 2012, with the masks of SBD, as it is downloaded.

Everingham et al., The PASCAL Visual Object Classes Challenge 2012; Hariharan et al., Semantic Contours from Inverse
Detectors, ICCV 2011. The augmented masks circulate as a folder `SegmentationClassAug` of 12,031 PNGs: those of the
10,582 ids of `train_aug` and of the 1,449 of `val`.
"""

from pathlib import Path

from dhr.dataset.examples import Example, read_ids
from dhr.errors import InputError

FOLDER = "VOC2012"
AUGMENTED = "SegmentationClassAug"


def find_voc(source: Path) -> Path:
    """Return the folder VOC2012 of a download: `source` itself, in it, or in a VOCdevkit in it.

    Raises:
        InputError: there is none.
    """
    for folder in (source, source / "VOC2012", source / "VOCdevkit" / "VOC2012"):
        if (folder / "JPEGImages").is_dir():
            return folder
    raise InputError(
        f"source: {source}: no folder JPEGImages in it; unpack VOCtrainval_11-May-2012.tar and use "
        "source=<folder>/VOCdevkit"
    )


def find_augmented(voc: Path, aug: Path | None) -> Path | None:
    """Return the folder of augmented masks: `aug` where given, else one inside or beside `voc`, else None.

    Raises:
        InputError: `aug` is given and is no folder of PNGs.
    """
    if aug is not None:
        folder = aug / AUGMENTED if (aug / AUGMENTED).is_dir() else aug
        if not any(folder.glob("*.png")):
            raise InputError(f"aug: {aug}: no folder of PNG masks; use aug=<the unpacked {AUGMENTED}>")
        return folder
    return next((folder for folder in (voc / AUGMENTED, voc.parent / AUGMENTED) if folder.is_dir()), None)


def voc_examples(source: Path, aug: Path | None = None) -> dict[str, list[Example]]:
    """Return where the files of the splits train_aug, train and validation lie in a download.

    The ids of train_aug are those in its list; without one, the augmented masks that are not in val; without augmented
    masks, the ids of train.

    Raises:
        InputError: a folder or a list is missing or wrong, or an id is used to train and to validate.
    """
    voc = find_voc(source)
    augmented = find_augmented(voc, aug)
    lists = voc / "ImageSets" / "Segmentation"
    train, validation = read_ids(lists / "train.txt"), read_ids(lists / "val.txt")
    splits = {
        "train_aug": _train_aug_ids(lists, augmented, train, validation),
        "train": train,
        "validation": validation,
    }
    for split in ("train_aug", "train"):
        if shared := sorted(set(splits[split]) & set(validation)):
            raise InputError(f"{lists}: {shared[0]}: this id is in {split} and in val; restore the original lists")
    return {split: [_example(voc, augmented, id) for id in ids] for split, ids in splits.items()}


def _train_aug_ids(lists: Path, augmented: Path | None, train: list[str], validation: list[str]) -> list[str]:
    if augmented is None:
        return train
    if (lists / "train_aug.txt").is_file():
        return read_ids(lists / "train_aug.txt")
    return sorted({path.stem for path in augmented.glob("*.png")} - set(validation))


def _example(voc: Path, augmented: Path | None, id: str) -> Example:
    """Find the files of one id; VOC's own mask, which has borders of 255, is preferred to the augmented one."""
    mask = voc / "SegmentationClass" / f"{id}.png"
    if augmented is not None and not mask.is_file():
        mask = augmented / f"{id}.png"
    annotation = voc / "Annotations" / f"{id}.xml"
    return Example(id, voc / "JPEGImages" / f"{id}.jpg", mask, annotation if annotation.is_file() else None)
