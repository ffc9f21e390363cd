"""`dhr.predict images=`: masks of the images of a user, whatever they are, with overlays, probabilities and a page."""

import csv
import io
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor

from dhr.config.command import command_line
from dhr.core.errors import InputError
from dhr.dataset.classes import ClassTable
from dhr.disk.any_image import read_any_image
from dhr.disk.atomic import write_atomically
from dhr.disk.mask import encode_mask, read_mask
from dhr.disk.output import Keep, Output
from dhr.disk.own_images import OwnImages
from dhr.disk.products import some
from dhr.disk.reading import BadFileError
from dhr.disk.soft_file import encode_soft
from dhr.disk.tag_files import read_tag_file, tags_of_images
from dhr.evaluation.gallery import encoded_overlay
from dhr.network.predictor import Picture, Predictor
from dhr.network.tiles import Tiles
from dhr.page.images import page_of
from dhr.runtime.pools import cores, map_ahead
from dhr.runtime.progress import progress
from dhr.runtime.ranks import Ranks
from dhr.stage.predictor import predictor_of, settings_of
from dhr.stage.source import Source

LONGEST = 2048  # pixels of the longer side of an overlay, a picture to look at
AFTER = ("crf", "minimum_probability")  # settings of a mask that its probabilities do not depend on
NOTHING: tuple[Sequence[str], Keep] = ([], lambda *_: None)  # is due, where no probabilities are asked for
Tags = Mapping[str, tuple[str, ...]]  # names of classes by id, of the images that the user tagged
log = logging.getLogger("dhr.predict")


@dataclass(frozen=True)
class Work:
    """What is made of images. An image that cannot be read goes to `broken`, and the others go on."""

    images: OwnImages
    tags: Tags
    table: ClassTable
    predictor: Predictor
    broken: dict[str, BadFileError] = field(default_factory=dict)

    def pictures(self, todo: Sequence[str]) -> Iterator[Picture]:
        """The images as the predictor takes them."""
        for image_id in todo:
            try:
                pixels = read_any_image(self.images.files[image_id])
            except BadFileError as error:
                self.broken[image_id] = error
                continue
            yield image_id, torch.from_numpy(pixels).permute(2, 0, 1), self.allowed(image_id)

    def allowed(self, image_id: str) -> Tensor | None:
        """(K) bool: the background and the tags of an image; None where it has no tags."""
        if image_id not in self.tags:
            return None
        own = self.tags[image_id]
        return torch.tensor([n < self.table.first_tag or name in own for n, name in enumerate(self.table.names)])

    def tags_text(self, image_id: str) -> str:
        """The tags of an image in words; empty where it has none."""
        return f"the tags {', '.join(self.tags[image_id]) or '(none)'}" if image_id in self.tags else ""

    def soft(self, todo: Sequence[str], keep: Keep) -> Iterator[str]:
        """Makes files of probabilities."""
        for image_id, pixels, _ in self.pictures(todo):
            keep(image_id, encode_soft(self.predictor.soft(pixels), self.table.names))
            yield image_id

    def masks(self, todo: Sequence[str], keep: Keep, *, soft: set[str], keep_soft: Keep) -> Iterator[str]:
        """Makes masks, and with the same look of the network the probabilities of those in `soft`, which it empties."""

        def put(image_id: str, probabilities: Tensor) -> None:
            if image_id in soft:
                keep_soft(image_id, encode_soft(probabilities, self.table.names))
                soft.remove(image_id)

        for image_id, mask in self.predictor.masks(self.pictures(todo), soft=put if soft else None):
            keep(image_id, encode_mask(mask.numpy(), self.table.palette))
            yield image_id

    def overlays(self, todo: Sequence[str], keep: Keep, *, masks: Output) -> Iterator[str]:
        """Makes pictures of masks over their images."""

        def draw(image_id: str) -> None:
            pixels, mask = read_any_image(self.images.files[image_id]), read_mask(masks.path(image_id))
            keep(image_id, encoded_overlay(pixels, mask, self.table.palette, longest=LONGEST))

        with ThreadPoolExecutor(cores()) as pool:
            for image_id, _ in zip(todo, map_ahead(pool, draw, todo, workers=cores()), strict=True):
                yield image_id


def predict_images(cfg: DictConfig, source: Source) -> Path:
    """Writes <output>/masks/<id>.png of all images of `cfg.images`, what else is asked for, and <output>/gallery.html.

    Returns:
        The folder of the masks.

    Raises:
        InputError: no images, tags of no class, masks of other settings or images; or, when all others are done,
            images that cannot be read.
    """
    table, ranks, images = source.table(), Ranks.join(), OwnImages.at(cfg.images)
    folder = source.folder.images(images.name) if cfg.output is None else Path(cfg.output)
    images.refuse_output(folder)
    for reason, names in images.left.items() if ranks.first else ():
        log.info(f"{images.root}: {len(names)} left out, {reason}: {some(names)}")
    tags = {} if cfg.tags is None else tags_of(Path(cfg.tags), images, table)
    work = Work(images, tags, table, predictor_of(cfg, source, table, ranks.device, tiles=Tiles()))
    # Images of another folder with the same name must not take the place of these.
    place = {"images": os.path.realpath(images.root), "tiles": asdict(Tiles())}
    settings = {**settings_of(cfg, source, table), **place}
    before = {key: value for key, value in settings.items() if key not in AFTER}
    output = partial(Output, sources=lambda image_id: [images.files[image_id]], elsewhere="output=<folder>")
    masks = output(folder / "masks", settings, given=work.tags_text)
    soft = output(folder / "soft", before, what="probabilities", suffix=".safetensors")
    overlays = Output(
        folder / "overlays",
        {"longest": LONGEST, "classes": list(table.names)},
        sources=lambda image_id: [images.files[image_id], masks.path(image_id)],
        what="overlays",
        suffix=".jpg",
    )
    ids, fresh = list(images.files), bool(cfg.overwrite)
    with soft.filling(ids, work.soft, ranks, overwrite=fresh) if cfg.soft else nullcontext(NOTHING) as (due, keep):
        waiting = set(due)
        make = partial(work.masks, soft=waiting, keep_soft=keep)
        masks.fill(ids, make, ranks, title=f"predict {images.name}", overwrite=fresh)
        rest = sorted(waiting - work.broken.keys())
        for _ in progress(work.soft(rest, keep), "probabilities", total=len(rest), visible=ranks.first and bool(rest)):
            pass
    broken = dict(sorted(ranks.of_all(list(work.broken.items()))))
    wrong, done = [*images.unusable, *broken.values()], [image_id for image_id in ids if image_id not in broken]
    if cfg.overlay:
        overlays.fill(done, partial(work.overlays, masks=masks), ranks, title="overlays", overwrite=fresh)
    if ranks.first:
        outputs = (
            {"mask": masks} | ({"overlay": overlays} if cfg.overlay else {}) | ({"soft": soft} if cfg.soft else {})
        )
        page = page_of(
            images, done, outputs, table, place=folder, tags=tags, wrong=wrong, command=command_line("predict")
        )
        write_atomically(folder / "gallery.html", page)
        _write_tags(folder, images, done, masks, table)
        for error in wrong:
            log.warning(f"{error.path}: {error.problem}")
        log.info(f"wrote {folder / 'gallery.html'}")
    ranks.wait()
    ranks.leave()
    _refuse(wrong, len(done), masks.folder)
    return masks.folder


def _write_tags(folder: Path, images: OwnImages, ids: Sequence[str], masks: Output, table: ClassTable) -> None:
    """The classes that each mask shows and all of them in their order, as `prepare dataset=folder` reads them."""
    text, known = io.StringIO(), range(table.first_tag, table.num_classes)
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("image", "tags"))
    for image_id in ids:
        names = [table.names[label] for label in np.unique(read_mask(masks.path(image_id))).tolist() if label in known]
        rows.writerow((images.files[image_id].relative_to(images.root).as_posix(), ";".join(names)))
    write_atomically(folder / "tags.csv", text.getvalue().encode())
    write_atomically(folder / "classes.txt", "".join(f"{table.names[label]}\n" for label in known).encode())


def tags_of(path: Path, images: OwnImages, table: ClassTable) -> Tags:
    """Tags by id, from a file of the user; images that it does not name have none, so any class may be in their mask.

    Raises:
        InputError: the file is unreadable or names no image of these or another class; or an image has no tag and
            there is no background that it could show.
    """
    ids = {file.relative_to(images.root).as_posix(): image_id for image_id, file in images.files.items()}
    stated = read_tag_file(path, classes=table.names[table.first_tag :])
    found, absent = tags_of_images(stated, list(ids), path)
    if not found:
        raise InputError(f"{path}: {some(absent)}: none of these is an image in {images.root}; write names as there")
    if absent:
        log.warning(f"{path}: {len(absent)} names are no image in {images.root}: {some(absent)}")
    if len(found) < len(ids):
        log.info(f"{path}: {len(ids) - len(found)} of {len(ids)} images have no tags there: any class may be theirs")
    empty = next((name for name, tags in found.items() if not tags), None)
    if empty is not None and not table.has_background:
        raise InputError(f"{path}: {empty}: no tag, and {table.name} has no background; leave the image out there")
    return {ids[name]: tags for name, tags in found.items()}


def _refuse(wrong: Sequence[BadFileError], done: int, folder: Path) -> None:
    """Names what could not be read, if anything."""
    if not wrong:
        return
    named = some([f"{error.path} ({error.problem})" for error in wrong])
    cure = "mend them or move them away"
    raise InputError(
        f"images: {len(wrong)} cannot be read: {named}; {cure}; the masks of {done} others are in {folder}"
    )
