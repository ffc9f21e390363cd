"""What pages show of single images: what training saved, and the worst and best predictions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dhr.core.errors import InputError
from dhr.core.labels import IGNORE
from dhr.dataset.classes import ClassTable
from dhr.disk.annotation import read_tags
from dhr.disk.image import read_image
from dhr.disk.mask import read_mask
from dhr.disk.products import Products
from dhr.evaluation.gallery import MAPS, PICTURES, SIDE, data_uri, load_gallery, overlay, scaled
from dhr.page.runs import MAIN_SPLIT, Run, RunData

ROWS = 24  # of the gallery
EXTREMES = 4  # worst and as many best predictions
RANKED = 400  # predictions compared with the truth to find them; evenly spread over larger splits
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


@dataclass(frozen=True)
class Predictions:
    """The worst and the best among `ranked` of the `found` predictions that have a truth, by title of the group.

    `has_data` says whether the split is on this machine at all.
    """

    split: str
    has_data: bool = False
    found: int = 0
    ranked: int = 0
    groups: Mapping[str, Sequence[Drawn]] = field(default_factory=dict)


def image_miou(mask: np.ndarray, truth: np.ndarray) -> float:
    """The mIoU of one image in percent: mean over the classes in mask or truth.

    Pixels whose truth is IGNORE are left out; 100 if none remain. IGNORE in `mask` counts as wrong.
    """
    joint = np.bincount(truth.astype(np.intp).ravel() * 256 + mask.ravel(), minlength=256 * 256).reshape(256, 256)
    joint[IGNORE] = 0
    right, union = np.diagonal(joint), joint.sum(0) + joint.sum(1) - np.diagonal(joint)
    classes = union > 0
    classes[IGNORE] = False
    return float(100 * (right[classes] / union[classes]).mean()) if classes.any() else 100.0


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


def predictions_of(run: Run, data: RunData | None) -> Predictions | None:
    """The worst and the best predictions of one split beside the truth; None where nothing was predicted yet.

    Raises:
        InputError: a prediction, its image or its mask is broken, or they do not fit together.
    """
    splits = sorted(path.name for path in run.folder.masks("x").parent.glob("*") if any(path.glob("*.png")))
    if not splits:
        return None
    split = MAIN_SPLIT if MAIN_SPLIT in splits else splits[0]
    if data is None or not data.layout.split(split).is_dir():
        return Predictions(split)
    folder, cure = run.folder.masks(split), f"run python -m dhr.predict run={run.folder.root} split={split} again"
    ids = [path.stem for path in sorted(folder.glob("*.png")) if data.layout.mask(split, path.stem).is_file()]
    chosen = [ids[index] for index in np.linspace(0, len(ids) - 1, min(RANKED, len(ids))).round().astype(int)]
    if not chosen:
        return Predictions(split, has_data=True)
    Products.at(folder, cure).check_all([folder / f"{image_id}.png" for image_id in chosen])
    ranked = sorted(chosen, key=lambda image_id: (image_miou(*_pair(run, data, split, image_id)), image_id))
    groups = {"Worst": ranked[:EXTREMES], "Best": ranked[EXTREMES:][-EXTREMES:][::-1]}
    rows = {
        title: [_predicted(run, data, split, image_id) for image_id in group]
        for title, group in groups.items()
        if group
    }
    drawn = {title: draw(group, data.classes) for title, group in rows.items()}
    return Predictions(split, has_data=True, found=len(ids), ranked=len(chosen), groups=drawn)


def _pair(run: Run, data: RunData, split: str, image_id: str) -> tuple[np.ndarray, np.ndarray]:
    path = run.folder.masks(split) / f"{image_id}.png"
    prediction, truth = read_mask(path), read_mask(data.layout.mask(split, image_id))
    if prediction.shape != truth.shape:
        raise InputError(f"{path}: {prediction.shape}: the truth has {truth.shape}; run python -m dhr.predict again")
    return prediction, truth


def _predicted(run: Run, data: RunData, split: str, image_id: str) -> Row:
    prediction, truth = _pair(run, data, split, image_id)
    path = data.layout.image(split, image_id)
    image = read_image(path)
    if image.shape[:2] != truth.shape:
        raise InputError(f"{path}: {image.shape[:2]}: its mask has {truth.shape}; run python -m dhr.prepare again")
    annotation = data.layout.tags(split, image_id)
    tags = read_tags(annotation, data.classes.names) if annotation.is_file() else []
    return Row(image_id, image, {"prediction": prediction, "truth": truth}, tags)


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
