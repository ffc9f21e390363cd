"""The page of the images of a user: thumbnails of the masks over them, by class, with links to the files."""

import base64
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np

from dhr.dataset.classes import ClassTable
from dhr.dataset.spread import spread
from dhr.disk.any_image import read_any_image
from dhr.disk.mask import read_mask
from dhr.disk.output import Output
from dhr.disk.own_images import OwnImages
from dhr.disk.reading import BadFileError
from dhr.evaluation.gallery import encoded_overlay, scaled
from dhr.page.pictures import Colour
from dhr.page.render import render
from dhr.runtime.pools import cores, map_ahead
from dhr.runtime.progress import progress

MOST = 1500  # images on the page, spread evenly over more
BYTES = 15_000_000  # of all thumbnails together, as text in the page
SIDES = (320, 256, 192, 128, 96)  # pixels of the longer side of a thumbnail: the first that fits, or the last
QUALITY = 78


@dataclass(frozen=True)
class Card:
    """One image on the page. `classes` are what its mask shows: label, name, colour and share of the pixels."""

    id: str
    source: str
    size: tuple[int, int]
    classes: Sequence[tuple[int, str, Colour, float]]
    links: Mapping[str, str]
    tags: Sequence[str] | None


def page_of(
    images: OwnImages,
    ids: Sequence[str],
    outputs: Mapping[str, Output],
    table: ClassTable,
    *,
    place: Path,
    tags: Mapping[str, Sequence[str]],
    wrong: Sequence[BadFileError],
    command: str,
) -> bytes:
    """The whole page; the same files give the same bytes.

    Args:
        images: all of them.
        ids: of those that have a mask.
        outputs: what is linked, by the word for it; "mask" is among them.
        table: classes of the masks.
        place: folder of the page.
        tags: of the images that the user tagged.
        wrong: what could not be read.
        command: that made all this.
    """
    shown = [ids[number] for number in spread(len(ids), MOST)]
    limit = BYTES // max(len(shown), 1)

    def card(image_id: str) -> Card:
        image, mask = read_any_image(images.files[image_id]), read_mask(outputs["mask"].path(image_id))
        links = {word: address(output.path(image_id), place) for word, output in outputs.items()}
        return Card(
            id=image_id,
            source=thumbnail(image, mask, table, limit=limit),
            size=(mask.shape[1], mask.shape[0]),
            classes=classes_in(mask, table),
            links={"image": address(images.files[image_id], place), **links},
            tags=tags.get(image_id),
        )

    with ThreadPoolExecutor(cores()) as pool:
        made: Iterator[Card] = map_ahead(pool, card, shown, workers=cores())
        cards = list(progress(made, "gallery", total=len(shown), visible=bool(shown)))
    counts = {label: sum(any(label == found for found, *_ in each.classes) for each in cards)
              for label in range(table.num_classes)}  # fmt: skip
    legend = [(label, table.names[label], table.palette[label], count) for label, count in counts.items() if count]
    return render(
        "images.html.j2",
        name=images.name,
        root=images.root,
        table=table,
        total=len(ids),
        cards=cards,
        legend=legend,
        nothing=sum(not each.classes for each in cards),
        wrong=[f"{error.path}: {error.problem}" for error in wrong],
        command=command,
    )


def address(path: Path, place: Path) -> str:
    """The relative address of a file, for a page in a folder.

    >>> address(Path("out/masks/a b#1.png"), Path("out"))
    'masks/a%20b%231.png'
    """
    return quote(Path(os.path.relpath(path, place)).as_posix())


def classes_in(mask: np.ndarray, table: ClassTable) -> list[tuple[int, str, Colour, float]]:
    """Label, name, colour and share in percent of the classes in a mask but the background, the largest first."""
    pixels = np.bincount(mask.ravel(), minlength=table.num_classes)[: table.num_classes]
    labels = [int(label) for label in np.argsort(-pixels, kind="stable") if pixels[label] and label >= table.first_tag]
    return [(label, table.names[label], table.palette[label], 100 * pixels[label] / mask.size) for label in labels]


def thumbnail(image: np.ndarray, mask: np.ndarray, table: ClassTable, *, limit: int) -> str:
    """A small picture of a mask over its image as a data: address, of at most `limit` letters where that can be."""
    text = ""
    for side in SIDES:
        small = scaled(image, side), scaled(mask, side)
        data = encoded_overlay(*small, table.palette, longest=2 * side, quality=QUALITY)
        text = f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
        if len(text) <= limit:
            break
    return text
