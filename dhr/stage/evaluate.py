"""`dhr.evaluate`: scores of a folder of masks against the truth of a split."""

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig

from dhr.config.command import command_line
from dhr.core.errors import InputError
from dhr.dataset.check import refuse_no_truth
from dhr.dataset.split import Split
from dhr.disk.atomic import write_json
from dhr.disk.layout import RunFolder, scores_beside
from dhr.disk.products import Products
from dhr.evaluation.inventory import Inventory
from dhr.evaluation.scores import JointHistogram, as_json, check_labels, joint_histogram_of, scores_of
from dhr.evaluation.small import LABELS, SmallObjects
from dhr.evaluation.tables import score_table
from dhr.runtime.pools import cores, map_ahead
from dhr.runtime.progress import progress
from dhr.runtime.ranks import Ranks
from dhr.stage.evaluate_maps import evaluate_maps
from dhr.stage.parts import open_split
from dhr.stage.source import Source

CHUNK = 16  # pairs that are counted together
Counted = tuple[np.ndarray, np.ndarray, np.ndarray, int]  # what `joint_histogram_of` counts, and of how many images
log = logging.getLogger("dhr.evaluate")


def evaluate(cfg: DictConfig) -> dict[str, object]:
    """Scores masks, writes the score file and logs the scores.

    Returns:
        The content of the score file.

    Raises:
        InputError: masks are missing, of another size, changed since they were made, or hold labels that are no class;
            or there is no truth.
    """
    if cfg.maps is not None:
        return evaluate_maps(cfg)
    if cfg.run is None:
        dataset, split, folder = cfg.dataset.name, open_split(cfg, cfg.split), Path(cfg.masks)
    else:
        run = Source.of_run(Path(cfg.run), data=cfg.paths.data)
        dataset, split, folder = run.settings.dataset.name, run.split(cfg.split), run.folder.masks(cfg.split)
    ranks = Ranks.join()
    inventory = Inventory.of(split, folder)
    inventory.check(folder, strict=cfg.strict, allow_missing=cfg.allow_missing)
    refuse_no_truth(split, inventory.found)
    histogram, small = JointHistogram().to("cpu"), SmallObjects().to("cpu")
    mine = ranks.share(inventory.found)
    Products.at(folder, "run the stage that made them again").check_all(
        [folder / f"{image_id}.png" for image_id in mine]
    )
    for _ in progress(_scored(histogram, small, split, folder, mine), "evaluate", total=len(mine), visible=ranks.first):
        pass
    result = as_json(
        scores_of(*histogram.compute(), split.table, small=small.compute()),
        split.table,
        dataset=dataset,
        split=split.name,
        masks=str(folder),
        images=len(inventory.found),
        missing=len(inventory.missing),
        extra=len(inventory.extra),
        command=command_line("evaluate"),
    )
    if ranks.first:
        path = scores_beside(folder, split.name) if cfg.run is None else RunFolder(Path(cfg.run)).scores(cfg.split)
        title = folder.parent.name if cfg.run is None else Path(cfg.run).name
        write_json(path, result)
        log.info(f"{score_table([(title, result)])}\n{path}")
    ranks.leave()
    return result


def _scored(
    histogram: JointHistogram, small: SmallObjects, split: Split, folder: Path, ids: Sequence[str]
) -> Iterator[None]:
    """Updates `small` chunk by chunk and `histogram` once at the end; yields once for every image, for the bar."""
    pairs, holders = np.zeros((LABELS, LABELS), np.int64), np.zeros(LABELS, np.int64)
    for chunk_pairs, chunk_holders, objects, images in _histograms(split, folder, ids):
        pairs += chunk_pairs
        holders += chunk_holders
        small.update(torch.from_numpy(objects))
        yield from [None] * images
    histogram.update(torch.from_numpy(pairs), torch.from_numpy(holders), len(ids))


def _histograms(split: Split, folder: Path, ids: Sequence[str]) -> Iterator[Counted]:
    """Joint histograms of `CHUNK` pairs each, computed in threads: most of the work releases the interpreter's lock."""
    chunks = [ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK)]

    def count(chunk: Sequence[str]) -> Counted:
        pairs, holders, small = joint_histogram_of(_pair(split, folder, image_id) for image_id in chunk)
        try:
            check_labels(pairs, split.table.num_classes, chunk[0])
        except InputError:
            for image_id in chunk:  # one by one, so that the error names the image
                check_labels(joint_histogram_of([_pair(split, folder, image_id)])[0], split.table.num_classes, image_id)
            raise
        return pairs, holders, small, len(chunk)

    with ThreadPoolExecutor(cores()) as pool:
        yield from map_ahead(pool, count, chunks, workers=cores())


def _pair(split: Split, folder: Path, image_id: str) -> tuple[np.ndarray, np.ndarray]:
    """Prediction and truth of one image, (H,W) uint8."""
    prediction, truth = split.colours.read(folder / f"{image_id}.png"), split.colours.read(split.truths.path(image_id))
    if prediction.shape != truth.shape:
        raise InputError(f"{folder / image_id}.png: size {prediction.shape}: the truth has {truth.shape}")
    return prediction, truth
