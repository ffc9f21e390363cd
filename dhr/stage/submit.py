"""`dhr.submit`: the archive for the VOC evaluation server, written from predicted masks, or an archive checked."""

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from omegaconf import DictConfig

from dhr.core.errors import InputError
from dhr.core.labels import IGNORE
from dhr.dataset.classes import load_classes
from dhr.dataset.split import Split
from dhr.disk.image import image_size
from dhr.disk.mask import encode_mask, mask_values, read_mask
from dhr.disk.png import palette_entries
from dhr.disk.products import Products
from dhr.disk.submission import folder_of, read_archive, write_archive
from dhr.evaluation.inventory import SHOWN, Inventory
from dhr.runtime.pools import cores, map_ahead
from dhr.runtime.progress import progress
from dhr.stage.parts import open_split
from dhr.stage.source import Source

log = logging.getLogger("dhr.submit")
VOC = load_classes("voc")
COLOURS = bytes(channel for colour in VOC.palette for channel in colour)
SPLITS = ("validation", "test")  # whose masks the server takes


@dataclass(frozen=True)
class Checked:
    """The masks of a split as the server wants them: all of it, the sizes of the images, no pixel left open.

    Attributes:
        split: of VOC.
        place: where the masks come from, in messages.
    """

    split: Split
    place: Path

    def of(self, image_id: str, mask: np.ndarray) -> np.ndarray:
        """The mask of an image, checked.

        Raises:
            InputError: of another size than its image, or a label that is no class of VOC.
        """
        name = f"{self.place}: {image_id}.png"
        size = image_size(self.split.layout.image(self.split.name, image_id))
        if mask.shape != size:
            raise InputError(f"{name}: size {mask.shape}: the image has {size} (height, width); predict it anew")
        wrong = mask[mask >= VOC.num_classes]
        if wrong.size:
            least = "a pixel without a class" if int(wrong[0]) == IGNORE else "no class of VOC"
            raise InputError(f"{name}: label {int(wrong[0])}: {least}; the server takes 0 to {VOC.num_classes - 1}")
        return mask


def submit(cfg: DictConfig) -> Path:
    """Writes an archive of the masks of a whole split, and checks what it wrote; or checks an archive that is there.

    Returns:
        The archive.

    Raises:
        InputError: the split is not one that the server takes, or not all of it is here; masks are missing, of another
            size, or hold labels that are no class.
    """
    if cfg.run is not None:
        run = Source.of_run(Path(cfg.run), data=cfg.paths.data)
        split, folder, beside = run.split(cfg.split), run.folder.masks(cfg.split), run.folder.root / "submissions"
    else:
        split, folder = open_split(cfg, cfg.split), Path(cfg.masks or "")
        beside = folder.parent
    _refuse_other_split(split)
    inside = folder_of(cfg.competition, split.name)
    if cfg.archive is not None:
        path = Path(cfg.archive)
    else:
        path = Path(cfg.output) if cfg.output else beside / f"{cfg.competition}_{split.name}.tar.gz"
        if path.exists() and not cfg.overwrite:
            raise InputError(f"{path}: is there already; overwrite=true writes it anew, output=<file> another one")
        write_archive(path, inside, _packed(split, folder))
    _check_archive(path, inside, split)
    log.info(f"{path}: {len(split)} masks in {inside}; checked: ids, sizes, labels, palettes")
    return path


def _refuse_other_split(split: Split) -> None:
    published = VOC.sizes.get(split.name)
    if split.table.names != VOC.names:
        raise InputError(f"dataset: {split.table.name}: there is a server for VOC 2012 only; use dataset=voc")
    if split.name not in SPLITS:
        raise InputError(f"split: {split.name}: the server takes {' and '.join(SPLITS)}; use split=test")
    if len(split) != published:
        folder = split.layout.split(split.name)
        cure = "run python -m dhr.prepare without a limit"
        raise InputError(f"{folder}: {len(split)} images: the server wants all {published}; {cure}")


def _packed(split: Split, folder: Path) -> Iterator[tuple[str, bytes]]:
    """Ids and palette PNGs of the masks of a folder."""
    Inventory.of(split, folder).check(folder, strict=True, allow_missing=False)
    Products.at(folder, "predict them again").check_all([folder / f"{image_id}.png" for image_id in split.all_ids()])
    checked = Checked(split, folder)

    def packed(image_id: str) -> tuple[str, bytes]:
        return image_id, encode_mask(checked.of(image_id, read_mask(folder / f"{image_id}.png")), VOC.palette)

    with ThreadPoolExecutor(cores()) as pool:
        masks = map_ahead(pool, packed, split.all_ids(), workers=cores())
        yield from progress(masks, f"submit {split.name}", total=len(split))


def _check_archive(path: Path, inside: str, split: Split) -> None:
    """Reads an archive as the server does.

    Raises:
        InputError: it holds the masks of another split, not all of them, others besides, or a mask that is not right.
    """
    checked, wanted, found = Checked(split, path), {*split.all_ids()}, set[str]()
    for name, data in read_archive(path):
        place = PurePosixPath(name)
        if str(place.parent) != inside or place.suffix != ".png" or place.stem not in wanted:
            raise InputError(f"{path}: {name}: no mask of {split.name}; due are {inside}/<id>.png, one for each image")
        if place.stem in found:
            raise InputError(f"{path}: {name}: is in it twice; write the archive anew")
        found.add(place.stem)
        if (palette_entries(data) or b"")[: len(COLOURS)] != COLOURS:
            raise InputError(f"{path}: {name}: not a PNG with the palette of VOC; write the archive anew")
        checked.of(place.stem, mask_values(data, path / name))
    missing = sorted(wanted - found)
    if missing:
        raise InputError(f"{path}: {len(missing)} masks are missing ({', '.join(missing[:SHOWN])}); write it anew")
