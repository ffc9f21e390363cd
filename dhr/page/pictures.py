"""Sections of a report with pictures: what training saved, and the worst and best predictions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dhr.core.errors import InputError
from dhr.core.labels import IGNORE
from dhr.core.words import word
from dhr.dataset.classes import ClassTable
from dhr.disk.annotation import read_tags
from dhr.disk.image import read_image
from dhr.disk.mask import read_mask
from dhr.disk.products import Products
from dhr.evaluation.gallery import MAPS, PICTURES, SIDE, data_uri, load_gallery, overlay, scaled
from dhr.page.markup import Markup, element, join
from dhr.page.runs import MAIN_SPLIT, Run, RunData
from dhr.page.scores import note

ROWS = 24  # of the gallery
EXTREMES = 4  # worst and as many best predictions
RANKED = 400  # predictions compared with the truth to find them; evenly spread over larger splits
NAMES = {"wss_mask": "WSS mask", "pseudo_mask": "pseudo mask", "features": "USS features", "clusters": "USS clusters"}


@dataclass(frozen=True)
class Row:
    """One image with its maps (H,W) and its other pictures (H,W,3), drawn side by side."""

    id: str
    image: np.ndarray
    maps: Mapping[str, np.ndarray]
    tags: Sequence[str]
    pictures: Mapping[str, np.ndarray] = field(default_factory=dict)


def image_miou(mask: np.ndarray, truth: np.ndarray) -> float:
    """The mIoU of one image in percent: mean over the classes in mask or truth, pixels with truth IGNORE left out.

    100 if nothing is left to compare. IGNORE in `mask` counts as wrong.
    """
    joint = np.bincount(truth.astype(np.intp).ravel() * 256 + mask.ravel(), minlength=256 * 256).reshape(256, 256)
    joint[IGNORE] = 0
    right, union = np.diagonal(joint), joint.sum(0) + joint.sum(1) - np.diagonal(joint)
    classes = union > 0
    classes[IGNORE] = False
    return float(100 * (right[classes] / union[classes]).mean()) if classes.any() else 100.0


def gallery_section(run: Run, data: RunData | None) -> Markup:
    """Rows of image, given mask, labels, prediction and truth as saved while training."""
    paths = sorted(run.folder.gallery.glob("*.npz"))
    if not paths:
        return note("Training saved no pictures for this run.")
    if data is None:
        return note("config.yaml does not say which data set this is, so the pictures have no colours to be drawn in.")
    rows = [_saved(path, data) for path in paths[:ROWS]]
    said = [
        "Number beside a name: mIoU of that picture alone against the truth, in percent; ignored "
        "pixels of a mask (hatched) count as wrong."
    ]
    if any(row.pictures for row in rows):
        said.append(
            " USS features: the three directions in which the features of these images differ most, as red, green and "
            "blue; like colours are like features. USS clusters: their groups, without any label."
        )
    if len(paths) > ROWS:
        said.append(f" The first {ROWS} of {len(paths)} pictures are shown.")
    return join([note(*said), draw(rows, data.classes)])


def _saved(path: Path, data: RunData) -> Row:
    arrays = load_gallery(path)
    image = arrays.pop("image")
    tags = [str(name) for name in arrays.pop("tags", np.array([]))]
    annotation = data.tags(path.stem)
    if not tags and annotation is not None:
        tags = read_tags(annotation, data.classes.names)
    pictures = {name: arrays.pop(name) for name in PICTURES if name in arrays}
    return Row(path.stem, image, arrays, tags, pictures)


def prediction_section(run: Run, data: RunData | None) -> Markup:
    """The worst and the best predictions of one split beside the truth, or a sentence why there are none."""
    found = sorted(path.name for path in run.folder.masks("x").parent.glob("*") if any(path.glob("*.png")))
    if not found:
        command = f"python -m dhr.predict {word('run', run.folder.root)} split={MAIN_SPLIT}"
        return note("This run has no predictions yet. This makes them: ", element("code", command))
    split = MAIN_SPLIT if MAIN_SPLIT in found else found[0]
    if data is None or not data.layout.split(split).is_dir():
        return note(
            f"The data folder of split {split} is not on this machine, so predictions cannot be shown beside the "
            "truth. paths.data in config.yaml, or DHR_DATA, says where it has to be."
        )
    ids = [path.stem for path in sorted(run.folder.masks(split).glob("*.png"))]
    ids = [id for id in ids if data.layout.mask(split, id).is_file()]
    spread = np.linspace(0, len(ids) - 1, min(RANKED, len(ids))).round().astype(int)
    chosen = [ids[index] for index in spread]
    if not chosen:
        return note(f"The truth of split {split} is not on this machine.")
    folder, cure = run.folder.masks(split), f"run python -m dhr.predict run={run.folder.root} split={split} again"
    Products.at(folder, cure).check_all([folder / f"{id}.png" for id in chosen])
    ranked = sorted(chosen, key=lambda id: (image_miou(*_pair(run, data, split, id)), id))
    low, high = ranked[:EXTREMES], ranked[EXTREMES:][-EXTREMES:][::-1]
    among = f"all {len(ids)} predictions" if len(chosen) == len(ids) else f"{len(chosen)} of {len(ids)} predictions"
    parts = [note(f"Split {split}; by the mIoU of the single image, among {among}.")]
    for title, group in (("Worst", low), ("Best", high)):
        rows = [_predicted(run, data, split, id) for id in group]
        parts += [element("h3", title), draw(rows, data.classes)] if rows else []
    return join(parts)


def _pair(run: Run, data: RunData, split: str, id: str) -> tuple[np.ndarray, np.ndarray]:
    path = run.folder.masks(split) / f"{id}.png"
    prediction, truth = read_mask(path), read_mask(data.layout.mask(split, id))
    if prediction.shape != truth.shape:
        raise InputError(f"{path}: {prediction.shape}: the truth has {truth.shape}; run python -m dhr.predict again")
    return prediction, truth


def _predicted(run: Run, data: RunData, split: str, id: str) -> Row:
    prediction, truth = _pair(run, data, split, id)
    path = data.layout.image(split, id)
    image = read_image(path)
    if image.shape[:2] != truth.shape:
        raise InputError(f"{path}: {image.shape[:2]}: its mask has {truth.shape}; run python -m dhr.prepare again")
    annotation = data.layout.tags(split, id)
    tags = read_tags(annotation, data.classes.names) if annotation.is_file() else []
    return Row(id, image, {"prediction": prediction, "truth": truth}, tags)


def draw(rows: Sequence[Row], classes: ClassTable) -> Markup:
    """Rows of pictures. What no row has gets no column, what this row lacks an empty place."""
    columns = [name for name in (*PICTURES, *MAPS) if any(name in row.maps or name in row.pictures for row in rows)]
    drawn = [_row(row, columns, classes) for row in rows]
    return element("div", *drawn, class_="rows", style=f"--n:{1 + len(columns)}")


def _row(row: Row, columns: Sequence[str], classes: ClassTable) -> Markup:
    shots = [_shot(row.image, row.image, "image", f"image {row.id}")]
    shots += [_column(row, name, classes) for name in columns]
    about = [element("code", row.id), f" tags: {', '.join(row.tags)}" if row.tags else " tags unknown"]
    place = element("div", *shots, class_="shots")
    return element("section", place, element("p", *about, class_="about"), _legend(row, classes), class_="row")


def _column(row: Row, name: str, classes: ClassTable) -> Markup:
    title, truth = NAMES.get(name, name), row.maps.get("truth")
    if name in row.pictures:
        return _shot(scaled(row.pictures[name]), row.image, title, f"{title} of {row.id}")
    mask = row.maps.get(name)
    if mask is None:
        return _hole(row.image, title)
    picture = overlay(scaled(row.image), scaled(mask), classes.palette)
    score = "" if truth is None or name == "truth" else element("b", f"{image_miou(mask, truth):.1f}")
    return _shot(picture, row.image, title, f"{title} of {row.id}", score)


def _hole(image: np.ndarray, title: str) -> Markup:
    """An empty place of the shape of the image."""
    shape = f"aspect-ratio:{image.shape[1]}/{image.shape[0]}"
    return element("figure", element("div", "not saved", class_="hole", style=shape), element("figcaption", title))


def _shot(picture: np.ndarray, source: np.ndarray, title: str, alt: str, score: str = "") -> Markup:
    crisp = max(source.shape[:2]) * 2 <= SIDE
    drawn = scaled(picture) if picture is source else picture
    height, width = drawn.shape[:2]
    image = element(
        "img", src=data_uri(drawn, exact=crisp), alt=alt, width=width, height=height, class_="crisp" if crisp else None
    )
    return element("figure", image, element("figcaption", title, " ", score))


def _legend(row: Row, classes: ClassTable) -> Markup:
    shown = sorted({int(value) for mask in row.maps.values() for value in np.unique(mask)})
    entries = []
    for value in shown:
        known = value < len(classes.names)
        if known and not any(classes.palette[value]):
            continue  # drawn see-through
        name = "ignored" if value == IGNORE else classes.names[value] if known else f"class {value} (unknown)"
        colour = ",".join(map(str, classes.palette[value])) if known else "255,255,255"
        style = None if value == IGNORE else f"background:rgb({colour})"
        patch = element("span", class_="patch hatch" if value == IGNORE else "patch", style=style)
        entries.append(element("li", patch, name))
    return element("ul", *entries, class_="classes")
