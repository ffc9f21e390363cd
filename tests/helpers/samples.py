"""The original downloads of the five data sets with a few real photographs, of the samples beside the repository."""

from collections.abc import Callable
from pathlib import Path

LEARNING, VALIDATING = 6, 3  # images of the two that are cut short


def few_voc(root: Path, samples: Path) -> Path:
    """The real download with short lists."""
    photographs, voc = samples / "voc2012" / "VOCdevkit" / "VOC2012", root / "VOCdevkit" / "VOC2012"
    (voc / "ImageSets" / "Segmentation").mkdir(parents=True)
    for path in photographs.iterdir():
        if path.name != "ImageSets":
            (voc / path.name).symlink_to(path)
    for name, count in (("train", LEARNING), ("train_aug", LEARNING), ("val", VALIDATING)):
        ids = (photographs / "ImageSets" / "Segmentation" / f"{name}.txt").read_text().split()
        (voc / "ImageSets" / "Segmentation" / f"{name}.txt").write_text("\n".join(ids[:count]))
    return voc.parent


def few_ade(root: Path, samples: Path) -> Path:
    """The samples are of the validation split only: some of them are learnt from here."""
    ade, home = samples / "ade20k" / "ADEChallengeData2016", root / "ADEChallengeData2016"
    for kind in ("images", "annotations"):
        for number, path in enumerate(sorted((ade / kind / "validation").iterdir())[: LEARNING + VALIDATING]):
            folder = home / kind / ("training" if number < LEARNING else "validation")
            folder.mkdir(parents=True, exist_ok=True)
            (folder / path.name.replace("val", "train" if number < LEARNING else "val")).symlink_to(path)
    return home


REAL: dict[str, Callable[[Path, Path], Path]] = {  # each gets a folder of its own, and that of the samples
    "voc": few_voc,
    "ade": few_ade,
    "coco": lambda _, samples: samples / "coco2014",
    "context": lambda _, samples: samples / "pascal_context",
    "stuff": lambda _, samples: samples / "coco_stuff164k",
}
