"""`dhr.evaluate`: scores of a folder of masks against the truth of a split."""

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig

from dhr.config.command import command_line
from dhr.core.errors import InputError
from dhr.core.labels import IGNORE
from dhr.dataset.check import refuse_no_truth
from dhr.dataset.split import Split
from dhr.disk.atomic import write_atomically, write_json
from dhr.disk.layout import RunFolder, scores_beside
from dhr.disk.products import Products
from dhr.evaluation.counts import Counted, Pair, SplitCounts, counted, scores_of_split
from dhr.evaluation.inventory import Inventory, masks_below
from dhr.evaluation.score_files import csv_of, markdown_of
from dhr.evaluation.scores import as_json, check_labels
from dhr.evaluation.tables import score_table
from dhr.runtime.pools import cores, map_ahead
from dhr.runtime.progress import progress
from dhr.runtime.ranks import Ranks
from dhr.stage.evaluate_maps import evaluate_maps
from dhr.stage.parts import open_split
from dhr.stage.source import Source

CHUNK = 32  # pairs that are counted together
COCO = "COCO2014"  # of which the released evaluator scores images without an object too
RELEASED = (
    "RULE=RELEASED, not to be compared with other scores: as in the authors' evaluator, images without a prediction, "
    "and images whose truth holds only background and 255 (except in COCO2014), are left out"
)
log = logging.getLogger("dhr.evaluate")


@dataclass(frozen=True)
class Scored:
    """Masks and what they are scored against.

    Attributes:
        split: with the truth.
        folder: of the masks, <id>.png.
        objects_only: whether images whose truth holds only background and 255 are left out.
    """

    split: Split
    folder: Path
    objects_only: bool = False

    def pairs(self, ids: Sequence[str]) -> Iterator[Pair]:
        """Id, prediction and truth, (H,W) uint8, of the images that are scored.

        Raises:
            InputError: a file is broken, or prediction and truth differ in size.
        """
        colours = self.split.colours
        for image_id in ids:
            path = self.folder / f"{image_id}.png"
            prediction, truth = colours.read(path), colours.read(self.split.truths.path(image_id))
            if prediction.shape != truth.shape:
                raise InputError(
                    f"{path}: size {prediction.shape}: the truth has {truth.shape} (height, width); predict it at the "
                    "size of its image, or name the data set that the masks were made for"
                )
            if not self.objects_only or _shows_object(truth, self.split.table.first_tag):
                yield image_id, prediction, truth


@dataclass(frozen=True)
class Asked:
    """What the user wants scored.

    Attributes:
        dataset: name of the data set.
        scored: masks and truth.
        named: folder of masks that was named; those that are scored may lie below it.
        path: of the score file.
        title: of the line in the table.
        released: whether the released evaluator says which images are scored.
    """

    dataset: str
    scored: Scored
    named: Path
    path: Path
    title: str
    released: bool

    @classmethod
    def of(cls, cfg: DictConfig) -> "Asked":
        """Looks at the run, or at the folder of masks.

        Raises:
            InputError: there is no such run or split, or several folders of masks.
        """
        released = cfg.rule == "released"
        if cfg.run is None:
            dataset, split, named = cfg.dataset.name, open_split(cfg, cfg.split), Path(cfg.masks)
            folder, title = masks_below(named, split.name), named.parent.name
            path = scores_beside(named, split.name, "released" if released else "scores")
        else:
            run = Source.of_run(Path(cfg.run), data=cfg.paths.data)
            dataset, split, folder = run.settings.dataset.name, run.split(cfg.split), run.folder.masks(cfg.split)
            named, path, title = folder, RunFolder(Path(cfg.run)).scores(cfg.split), Path(cfg.run).name
            path = path.parent / "released" / path.name if released else path
        scored = Scored(split, folder, objects_only=released and split.layout.folder != COCO)
        return cls(dataset, scored, named, path, title, released)


def evaluate(cfg: DictConfig) -> dict[str, object]:
    """Scores masks, writes the score files and logs the scores.

    Returns:
        The content of the score file.

    Raises:
        InputError: masks are missing, of another size, changed since they were made, or hold labels that are no class;
            or there is no truth.
    """
    if cfg.maps is not None:
        return evaluate_maps(cfg)
    asked, ranks = Asked.of(cfg), Ranks.join()
    split, folder = asked.scored.split, asked.scored.folder
    inventory = Inventory.of(split, folder)
    inventory.check(folder, strict=cfg.strict, allow_missing=cfg.allow_missing or asked.released)
    refuse_no_truth(split, inventory.found)
    mine = ranks.share(inventory.found)
    Products.at(folder, "run the stage that made them again").check_all([folder / f"{each}.png" for each in mine])
    counts = SplitCounts(split.table.num_classes).to("cpu")
    for _ in progress(count_into(counts, asked.scored, mine), "evaluate", total=len(mine), visible=ranks.first):
        pass
    sums = counts.compute()
    images = int(sums["total"])
    result = as_json(
        scores_of_split(sums, split.table),
        split.table,
        **{"dataset": asked.dataset, "split": split.name, "masks": str(folder), "images": images},
        **{"missing": len(inventory.missing), "extra": len(inventory.extra), "command": command_line("evaluate")},
    )
    if asked.released:
        left_out = len(inventory.found) - images
        result |= {"rule": "released", "left_out": left_out, "definition": f"{RELEASED}; {result['definition']}"}
    if ranks.first:
        _write(asked.path, result)
        where = [f"masks: {asked.named}: those in {folder} are scored"] if folder != asked.named else []
        log.info("\n".join([*where, score_table([(asked.title, result)]), *map(str, _files(asked.path))]))
    ranks.leave()
    return result


def _write(path: Path, result: dict[str, object]) -> None:
    write_json(path, result)
    _, table, text = _files(path)
    write_atomically(table, csv_of(result))
    write_atomically(text, markdown_of(result))


def _files(path: Path) -> tuple[Path, Path, Path]:
    """The score file, and those beside it for spreadsheets and for papers."""
    return path, path.with_suffix(".csv"), path.with_suffix(".md")


def count_into(counts: SplitCounts, scored: Scored, ids: Sequence[str]) -> Iterator[None]:
    """Updates `counts` chunk by chunk; yields once for every image, for the bar."""
    counts.update(None)  # a process without an image takes part in the sum too
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # those that count need all cores: sums that wait for a second thread take twice the time
    try:
        for some, images in chunks_counted(scored, ids):
            counts.update(some)
            yield from [None] * images
    finally:
        torch.set_num_threads(threads)


def chunks_counted(scored: Scored, ids: Sequence[str]) -> Iterator[tuple[Counted | None, int]]:
    """What `CHUNK` pairs hold, None where none of them is scored, and the number of pairs.

    Computed in threads: most of the work releases the interpreter's lock.
    """
    chunks = [ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK)]
    table = scored.split.table

    def checked(chunk: Sequence[str]) -> Counted | None:
        some = counted(scored.pairs(chunk), first_tag=table.first_tag)
        if some is not None:
            check_labels(some.pairs, table.num_classes, chunk[0])
        return some

    def count(chunk: Sequence[str]) -> tuple[Counted | None, int]:
        try:
            return checked(chunk), len(chunk)
        except InputError:
            for image_id in chunk:  # one by one, so that the error names the image
                checked([image_id])
            raise

    with ThreadPoolExecutor(cores()) as pool:
        yield from map_ahead(pool, count, chunks, workers=cores())


def _shows_object(truth: np.ndarray, first_tag: int) -> bool:
    """Whether a truth holds a class that is no background."""
    return bool(((truth >= first_tag) & (truth != IGNORE)).any())
