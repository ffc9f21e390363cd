"""What pages show of single images side by side: what training saved, and predictions beside the truth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dhr.core.labels import IGNORE
from dhr.dataset.classes import ClassTable
from dhr.disk.annotation import read_tags
from dhr.disk.image import read_image
from dhr.disk.mask import read_mask
from dhr.evaluation.gallery import MAPS, PICTURES, SIDE, data_uri, load_gallery, overlay, scaled
from dhr.page.runs import Run, RunData

ROWS = 24  # of the gallery
NAMES = {"wss_mask": "WSS mask", "pseudo_mask": "pseudo mask", "features": "USS features", "clusters": "USS clusters"}

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Row:
    """One image with its maps (H,W) and its other pictures (H,W,3), drawn side by side."""

    id: str
    image: np.ndarray
    maps: Mapping[str, np.ndarray]
    tags: Sequence[str]
    pictures: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Shot:
    """One drawn picture: its address (None: it was not saved), size, and mIoU against the truth in percent."""

    title: str
    source: str | None
    size: tuple[int, int]
    crisp: bool = False
    miou: float | None = None


@dataclass(frozen=True)
class Drawn:
    """A row as a page shows it. The legend pairs names with colours; None stands for the hatched, ignored pixels."""

    id: str
    tags: Sequence[str]
    shots: Sequence[Shot]
    legend: Sequence[tuple[str, Colour | None]]


def class_ious(mask: np.ndarray, truth: np.ndarray) -> dict[int, float]:
    """The IoU in percent of every class in mask or truth, without the pixels whose truth is IGNORE.

    IGNORE in `mask` counts as wrong, and is no class.
    """
    pairs = truth.astype(np.uint16) << 8 | mask
    joint = np.bincount(pairs.ravel(), minlength=256 * 256).reshape(256, 256)
    joint[IGNORE] = 0
    right, union = np.diagonal(joint), joint.sum(0) + joint.sum(1) - np.diagonal(joint)
    return {int(label): float(100 * right[label] / union[label]) for label in np.flatnonzero(union[:IGNORE])}


def image_miou(mask: np.ndarray, truth: np.ndarray) -> float:
    """The mIoU of one image in percent: mean over the classes in mask or truth; 100 if no pixel is scored."""
    ious = class_ious(mask, truth)
    return float(np.mean(list(ious.values()))) if ious else 100.0


def saved_pictures(run: Run) -> list[Path]:
    """The files in which training saved pictures, by id."""
    return sorted(run.folder.gallery.glob("*.npz"))


def gallery_of(paths: Sequence[Path], data: RunData) -> list[Drawn]:
    """Rows of image, given mask, labels, prediction and truth of the first ROWS files that training saved."""
    rows = []
    for path in paths[:ROWS]:
        arrays = load_gallery(path)
        image = arrays.pop("image")
        tags = [str(name) for name in arrays.pop("tags", np.array([]))]
        annotation = data.tags(path.stem)
        if not tags and annotation is not None:
            tags = read_tags(annotation, data.classes.names)
        pictures = {name: arrays.pop(name) for name in PICTURES if name in arrays}
        rows.append(Row(path.stem, image, arrays, tags, pictures))
    return draw(rows, data.classes)


def predicted(image_id: str, data: RunData, split: str, predictions: Path) -> Row:
    """An image of a split with its prediction and its truth, for `draw`."""
    annotation = data.layout.tags(split, image_id)
    tags = read_tags(annotation, data.classes.names) if annotation.is_file() else []
    maps = {
        "prediction": read_mask(predictions / f"{image_id}.png"),
        "truth": read_mask(data.layout.mask(split, image_id)),
    }
    return Row(image_id, read_image(data.layout.image(split, image_id)), maps, tags)


def draw(rows: Sequence[Row], classes: ClassTable) -> list[Drawn]:
    """Rows of pictures. A name that no row has gets no column; a row without it gets a shot without a source."""
    columns = [name for name in (*PICTURES, *MAPS) if any(name in row.maps or name in row.pictures for row in rows)]
    return [Drawn(row.id, row.tags, _shots(row, columns, classes), _legend(row, classes)) for row in rows]


def _shots(row: Row, columns: Sequence[str], classes: ClassTable) -> list[Shot]:
    crisp = max(row.image.shape[:2]) * 2 <= SIDE
    truth = row.maps.get("truth")
    shots = []
    for name in ("image", *columns):
        picture, mask = _picture(row, name, classes), row.maps.get(name)
        size = (picture if picture is not None else row.image).shape
        source = None if picture is None else data_uri(picture, exact=crisp)
        miou = None if mask is None or truth is None or name == "truth" else image_miou(mask, truth)
        shots.append(Shot(NAMES.get(name, name), source, (size[1], size[0]), crisp, miou))
    return shots


def _picture(row: Row, name: str, classes: ClassTable) -> np.ndarray | None:
    """What is drawn under a name, at the size it is shown; None where the row has nothing of that name."""
    if name == "image" or name in row.pictures:
        return scaled(row.image if name == "image" else row.pictures[name])
    mask = row.maps.get(name)
    return None if mask is None else overlay(scaled(row.image), scaled(mask), classes.palette)


def _legend(row: Row, classes: ClassTable) -> list[tuple[str, Colour | None]]:
    """Names and colours of the labels in a row's maps; black is drawn see-through and has no entry."""
    entries: list[tuple[str, Colour | None]] = []
    for label in sorted({int(value) for mask in row.maps.values() for value in np.unique(mask)}):
        if label == IGNORE:
            entries.append(("ignored", None))
        elif label >= len(classes.names):
            entries.append((f"class {label} (unknown)", (255, 255, 255)))
        elif any(classes.palette[label]):
            entries.append((classes.names[label], classes.palette[label]))
    return entries
