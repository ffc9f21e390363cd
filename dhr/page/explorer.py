"""The images of a split that were predicted, scored one by one and made small enough to stand in a page."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dhr.core.errors import InputError
from dhr.core.words import of_split
from dhr.dataset.classes import Palette
from dhr.dataset.spread import spread
from dhr.disk.image import read_image
from dhr.disk.layout import RunFolder
from dhr.disk.mask import read_mask
from dhr.disk.products import Products
from dhr.page.pictures import class_ious
from dhr.page.runs import MAIN_SPLIT, Run, RunData, open_data
from dhr.page.thumbnails import thumbnails
from dhr.runtime.pools import cores, map_ahead
from dhr.runtime.progress import progress

MOST = 2000  # images on a page, spread evenly over more
EXTREMES = 4  # worst images, and as many best ones
TRUTH, GIVEN = "truth", "WSS mask"


@dataclass(frozen=True)
class Source:
    """Label maps that can be drawn over the images: their name, what they saw (as letters), and where they lie.

    `slot` is the colour of their run; None for the truth and the given masks.
    """

    name: str
    saw: str
    folder: Path
    slot: int | None = None

    def path(self, image_id: str) -> Path:
        """The map of an image, which need not be there."""
        return self.folder / f"{image_id}.png"


@dataclass(frozen=True)
class Seen:
    """One image: its scores, and its pictures as the page holds them.

    Attributes:
        size: width and height of the image itself.
        truth: labels in the truth, without IGNORE.
        miou: of every run, in percent; None where a run has no prediction of it.
        ious: of every label in the truth or a prediction, and every run, in percent; None where neither shows it.
        pictures: see `thumbnails`.
        shown: places of those sources that have a map of it, in the order in which they are stacked.
    """

    id: str
    size: tuple[int, int]
    truth: Sequence[int]
    miou: Sequence[float | None]
    ious: Mapping[int, Sequence[float | None]]
    pictures: Mapping[str, Any]
    shown: Sequence[int]

    @property
    def entry(self) -> dict[str, Any]:
        """What the script of the page reads."""
        ious = [[label, *map(rounded, values)] for label, values in self.ious.items()]
        scores = {"truth": self.truth, "miou": [rounded(value) for value in self.miou], "ious": ious}
        return {"id": self.id, "size": self.size, **scores, "shown": self.shown, **self.pictures}


@dataclass(frozen=True)
class Explored:
    """The images of a split for which the run of the report has a prediction that can be compared with the truth.

    Attributes:
        has_data: whether the split is on this machine at all.
        total: images of the split.
        predicted: predictions of the run of the report.
        ids: of those with a truth; `images` are all of them, or MOST.
        left_out: names of compared runs that are not shown, and why.
    """

    split: str
    data: RunData | None = None
    has_data: bool = False
    total: int = 0
    predicted: int = 0
    ids: Sequence[str] = ()
    sources: Sequence[Source] = ()
    images: Sequence[Seen] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)

    def extremes(self) -> dict[str, list[str]]:
        """Ids of the images with the lowest and with the highest mIoU of the run of the report, by title."""
        ranked = [seen.id for seen in sorted(self.images, key=lambda seen: (seen.miou[0], seen.id))]
        groups = {"Worst": ranked[:EXTREMES], "Best": ranked[EXTREMES:][-EXTREMES:][::-1]}
        return {title: ids for title, ids in groups.items() if ids}

    @property
    def entry(self) -> dict[str, Any]:
        """What the script of the page reads."""
        sources = [{"name": source.name, "saw": source.saw, "run": source.slot} for source in self.sources]
        table = self.data.classes if self.data else None
        names, palette = (table.names, table.palette) if table else ((), ())
        seen = [each.entry for each in self.images]
        return {"classes": names, "palette": palette, "sources": sources, "images": seen}


def explore(runs: Sequence[Run], data: RunData | None, *, wss_masks: str | None, limit: int) -> Explored | None:
    """Scores and shrinks every predicted image; None where the run of the report has predicted nothing yet.

    Args:
        runs: the run of the report, and those beside it.
        data: of the run of the report.
        wss_masks: folder of the given masks, with `{split}` for the split; None: there are none.
        limit: of the letters of all pictures together.

    Raises:
        InputError: an image, a mask or a prediction is broken, or they do not fit together.
    """
    split, predicted, ids = predicted_ids(runs[0].folder, data)
    if split is None:
        return None
    if data is None or not data.layout.split(split).is_dir():
        return Explored(split, data, predicted=len(predicted))
    chosen = [ids[place] for place in spread(len(ids), MOST)]
    left_out = _left_out(runs[1:], data, split, chosen)
    shown = [run for run in runs if run.name not in left_out]
    for run in shown:
        _check(run, split, chosen)
    sources = _sources(shown, data, split, wss_masks)
    sources = [sources[0], *(source for source in sources[1:] if _any_of(source.folder, chosen))]
    return Explored(
        split,
        data,
        has_data=True,
        total=len(data.layout.image_names(split)),
        predicted=len(predicted),
        ids=ids,
        sources=sources,
        images=list(_seen(chosen, sources, data, split, limit // max(len(chosen), 1))),
        left_out=left_out,
    )


def predicted_ids(run: RunFolder, data: RunData | None) -> tuple[str | None, list[str], list[str]]:
    """The split that is shown, None without predictions; ids of its predictions, and of those of them with a truth."""
    splits = sorted(path.name for path in run.masks("x").parent.glob("*") if any(path.glob("*.png")))
    if not splits:
        return None, [], []
    split = MAIN_SPLIT if MAIN_SPLIT in splits else splits[0]
    predicted = sorted(path.stem for path in run.masks(split).glob("*.png"))
    return (
        split,
        predicted,
        [each for each in predicted if data is not None and data.layout.mask(split, each).is_file()],
    )


def _left_out(others: Sequence[Run], data: RunData, split: str, ids: Sequence[str]) -> dict[str, str]:
    """Which of the compared runs have no map that can be shown, and why."""
    reasons = {}
    for run in others:
        own = open_data(run.folder, data.layout.root)
        if own is None or (own.classes.names, own.layout.home) != (data.classes.names, data.layout.home):
            reasons[run.name] = "was trained on other classes or other data"
        elif not _any_of(run.folder.masks(split), ids):
            reasons[run.name] = "has predicted none of these images"
    return reasons


def _any_of(folder: Path, ids: Sequence[str]) -> bool:
    return any((folder / f"{image_id}.png").is_file() for image_id in ids)


def _sources(runs: Sequence[Run], data: RunData, split: str, wss_masks: str | None) -> list[Source]:
    """The truth, the given masks and every run."""
    sources = [Source(TRUTH, "", data.layout.mask(split, "x").parent)]
    if wss_masks is not None:
        sources.append(Source(GIVEN, runs[0].saw_of("wss"), of_split(wss_masks, split)))
    return [*sources, *(Source(run.name, run.saw, run.folder.masks(split), run.slot) for run in runs)]


def _check(run: Run, split: str, ids: Sequence[str]) -> None:
    """Refuses predictions that are not what `predict` made."""
    folder, cure = run.folder.masks(split), f"run python -m dhr.predict run={run.folder.root} split={split} again"
    paths = [folder / f"{image_id}.png" for image_id in ids]
    Products.at(folder, cure).check_all([path for path in paths if path.is_file()])


def _seen(ids: Sequence[str], sources: Sequence[Source], data: RunData, split: str, limit: int) -> Iterator[Seen]:
    """The images one by one, under a bar; few are in memory at a time."""

    def seen(image_id: str) -> Seen:
        return see(image_id, read_image(data.layout.image(split, image_id)), sources, data.classes.palette, limit)

    with ThreadPoolExecutor(cores()) as pool:
        made = map_ahead(pool, seen, ids, workers=cores())
        yield from progress(made, "images", total=len(ids), visible=bool(ids))


def see(image_id: str, image: np.ndarray, sources: Sequence[Source], palette: Palette, limit: int) -> Seen:
    """Scores of one image, and its pictures.

    Args:
        image_id: its id.
        image: (H,W,3) uint8.
        sources: where its maps may lie; the first is the truth, which has to be there.
        palette: colours of the classes.
        limit: of the letters of its pictures.

    Raises:
        InputError: a map has another size than the image.
    """
    maps = maps_of(image_id, image, sources)
    truth, runs = maps[0], [place for place, source in enumerate(sources) if source.slot is not None]
    scores = [class_ious(maps[place], truth) if place in maps else None for place in runs]
    labels = sorted({label for found in scores if found for label in found})
    return Seen(
        id=image_id,
        size=(image.shape[1], image.shape[0]),
        truth=sorted(class_ious(truth, truth)),
        miou=[None if found is None else mean_iou(found) for found in scores],
        ious={label: [None if found is None else found.get(label) for found in scores] for label in labels},
        pictures=thumbnails(image, list(maps.values()), palette, limit=limit),
        shown=list(maps),
    )


def maps_of(image_id: str, image: np.ndarray, sources: Sequence[Source]) -> dict[int, np.ndarray]:
    """The maps (H,W) of an image by the place of their source, as far as they are there.

    Raises:
        InputError: a map has another size than the image.
    """
    maps = {}
    for place, source in enumerate(sources):
        path = source.path(image_id)
        if place and not path.is_file():
            continue
        maps[place] = read_mask(path)
        if maps[place].shape != image.shape[:2]:
            cure = "run python -m dhr.predict again" if source.slot is not None else "run python -m dhr.prepare again"
            raise InputError(f"{path}: {maps[place].shape}: its image has {image.shape[:2]}; {cure}")
    return maps


def mean_iou(ious: Mapping[int, float]) -> float:
    """The mIoU of one image in percent; 100 if no pixel of it is scored."""
    return float(np.mean(list(ious.values()))) if ious else 100.0


def rounded(value: float | None) -> float | None:
    """A score as the page holds it: only what is 0 becomes 0, since that means that nothing was found."""
    return None if value is None else round(value, 2) or (0.01 if value else 0.0)
