"""A generated data set, small enough to train on a laptop, with the difficulties that weak supervision has.

Super-categories differ in colour and texture, siblings within one only in shape: features without supervision can
tell the former apart but not the latter. Small objects touch large ones, and the simulated masks lose them there.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from dhr.core.errors import InputError
from dhr.dataset.classes import ClassTable, load_classes
from dhr.dataset.toy.scene import DRAWN_SIZE, make_scene, smooth_noise
from dhr.disk.annotation import write_tags
from dhr.disk.atomic import read_json, write_atomically, write_json
from dhr.disk.layout import DataLayout
from dhr.disk.mask import write_mask
from dhr.disk.writing import remove_orphans

FOLDER = "Toy"
SMALLEST_IMAGE = 32
GENERATOR = 3  # raised whenever the same seed would give other files
SWALLOWED = 0.6  # chance that an object which touches a larger one is lost from a simulated mask
DILATED, ERODED = 0.2, 0.15  # chances that all objects of a class in a simulated mask grow or shrink
CLEARLY_LARGER = 1.5  # ratio of areas from which on the larger object can swallow the other
ENDINGS = {".jpg": b"\xff\xd9", ".png": b"IEND\xaeB`\x82", ".xml": b"</annotation>"}


def simulate_wss_mask(rng: np.random.Generator, mask: np.ndarray, table: ClassTable) -> np.ndarray:
    """Simulates a mask made from tags by spoiling a true one: objects beside larger ones vanish, all edges wobble.

    Args:
        rng: source of every chance in it.
        mask: (H,W) uint8 class index, complete; left as it is.
        table: says which index is background; without one, every region counts as an object.

    Returns:
        (H,W) uint8 class index, without classes that `mask` lacks and without 255.
    """
    spoiled = _swallow(rng, mask, table.first_tag)
    scale = mask.shape[0] / DRAWN_SIZE
    for label in np.unique(spoiled[spoiled >= table.first_tag]):
        steps = max(1, round(rng.choice([1, 2]) * scale))
        fate = rng.random()
        if fate < DILATED:
            grown = ndimage.binary_dilation(spoiled == label, iterations=steps)
            spoiled[grown & (spoiled < table.first_tag)] = label
        elif fate < DILATED + ERODED and table.has_background:
            kept = ndimage.binary_erosion(spoiled == label, iterations=steps)
            spoiled[(spoiled == label) & ~kept] = 0
    push = [rng.uniform(0.4, 0.8) * scale * smooth_noise(rng, mask.shape, 5 * scale) for _ in range(2)]
    sources = np.stack([grid + shift for grid, shift in zip(np.indices(mask.shape), push, strict=True)])
    return ndimage.map_coordinates(spoiled, sources, order=0, mode="nearest").astype(np.uint8)


def _swallow(rng: np.random.Generator, mask: np.ndarray, first_tag: int) -> np.ndarray:
    """Each object that touches a clearly larger one of another class takes that one's label with chance SWALLOWED."""
    spoiled = mask.copy()
    objects = [
        (label, regions == index)
        for label in np.unique(mask[mask >= first_tag])
        for regions, count in [ndimage.label(mask == label)]
        for index in range(1, count + 1)
    ]
    for label, region in sorted(objects, key=lambda entry: int(entry[1].sum())):
        around = ndimage.binary_dilation(region, iterations=2) & ~region
        larger = [
            (int((around & other).sum()), winner)
            for winner, other in objects
            if winner != label and other.sum() > CLEARLY_LARGER * region.sum() and (around & other).any()
        ]
        if larger and rng.random() < SWALLOWED:
            spoiled[region] = max(larger)[1]
    return spoiled


def write_toy(root: Path, *, splits: Mapping[str, int], image_size: int = 96, seed: int = 7) -> None:
    """Generate the toy set and simulated masks for its split `train` in the layout of `DataLayout`.

    Every image depends on (seed, split, its number) alone. Whole files that are there already stay untouched.

    Args:
        root: folder of all data sets; gets `Toy/` and `WSS/Toy/Simulated/train/`.
        splits: number of images per split.
        image_size: side of the square images in pixels.
        seed: seed of the set.

    Raises:
        InputError: the images would be too small, or the folder holds a toy set made otherwise or a larger one.
    """
    if image_size < SMALLEST_IMAGE:
        raise InputError(f"dataset.image_size: {image_size}: too small to draw objects; use {SMALLEST_IMAGE} or more")
    layout = DataLayout(root, FOLDER)
    _check_recipe(layout, splits, {"generator": GENERATOR, "image_size": image_size, "seed": seed})
    for split, images in splits.items():
        for folder in {path.parent for path in _Example(layout, split, "").paths}:
            remove_orphans(folder)
        for number in range(images):
            example = _Example(layout, split, f"{split}_{number:05d}")
            # A file is whole where it ends as its kind of file has to.
            if not all(path.is_file() and path.read_bytes().endswith(ENDINGS[path.suffix]) for path in example.paths):
                _write(example, np.random.default_rng([seed, zlib.crc32(split.encode()), number]), image_size)


def _check_recipe(layout: DataLayout, splits: Mapping[str, int], recipe: dict[str, int]) -> None:
    """Refuse to mix two toy sets, then note what this one is made from."""
    folder = layout.root / layout.folder
    masks = layout.root / "WSS" / layout.folder
    note = folder / "recipe.json"
    if note.exists() and (made := read_json(note)) != recipe:
        raise InputError(f"{folder}: made with {made}: asked for is {recipe}; move {folder} and {masks} away")
    for split, images in splits.items():
        count = len(list((layout.split(split) / "image").glob("*.jpg")))
        if count > images:
            raise InputError(
                f"dataset.generate.{split}: {images}: {layout.split(split)} already holds {count} images; "
                f"use dataset.generate.{split}={count}, or move {folder} and {masks} away"
            )
    if not note.exists():
        write_json(note, recipe)


@dataclass(frozen=True)
class _Example:
    """Where the files of one image belong."""

    layout: DataLayout
    split: str
    id: str

    @property
    def wss_mask(self) -> Path | None:
        """The simulated mask; only the train split has them."""
        folder = self.layout.root / "WSS" / self.layout.folder / "Simulated" / self.split
        return folder / f"{self.id}.png" if self.split == "train" else None

    @property
    def paths(self) -> list[Path]:
        """Every file of the example."""
        path_of = (self.layout.image, self.layout.mask, self.layout.tags)
        return [path(self.split, self.id) for path in path_of] + [path for path in [self.wss_mask] if path]


def _write(example: _Example, rng: np.random.Generator, image_size: int) -> None:
    """Generate one example; the image comes last, because a split is the list of its images."""
    table = load_classes("toy")
    scene = make_scene(rng, image_size)
    image, mask, tags = example.paths[:3]
    present = [table.names[label] for label in np.unique(scene.mask) if label >= table.first_tag]
    if example.wss_mask:
        write_mask(example.wss_mask, simulate_wss_mask(rng, scene.mask, table), table.palette)
    write_mask(mask, scene.mask, table.palette)
    write_tags(tags, (image_size, image_size), present)
    jpeg = BytesIO()
    Image.fromarray(scene.image).save(jpeg, "JPEG", quality=95)
    write_atomically(image, jpeg.getvalue())
