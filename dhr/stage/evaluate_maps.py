"""`dhr.evaluate maps=<folder>`: what the soft maps of a WSS method would score for many background powers."""

import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig

from dhr.config.command import command_line
from dhr.core.errors import InputError
from dhr.core.labels import IGNORE
from dhr.dataset.check import refuse_no_truth
from dhr.dataset.split import Split
from dhr.disk.atomic import write_json
from dhr.disk.layout import scores_beside
from dhr.disk.products import Products
from dhr.disk.soft_maps import SUFFIX, read_maps
from dhr.evaluation.inventory import Inventory
from dhr.evaluation.powers import PowerCounts, power_counts, scores_of_powers
from dhr.evaluation.scores import DEFINITION
from dhr.evaluation.small import number_or_null
from dhr.evaluation.tables import percent, ratio
from dhr.runtime.pools import cores, map_ahead
from dhr.runtime.progress import progress
from dhr.runtime.ranks import Ranks
from dhr.stage.parts import open_split

MEANS = ("miou", "mfpr", "mfnr", "small_mfnr")
CURE = "make them with python -m dhr.train_wss maps=true"
log = logging.getLogger("dhr.evaluate")


def evaluate_maps(cfg: DictConfig) -> dict[str, object]:
    """Scores masks of all background powers at once, without a CRF, and writes them beside the folder.

    Returns:
        The content of the file.

    Raises:
        InputError: maps are missing or not of these images, there is no truth, or no background class.
    """
    split, folder = open_split(cfg, cfg.split), Path(os.path.abspath(cfg.maps))
    if not split.table.has_background:
        raise InputError(f"dataset: {cfg.dataset.name}: has no background class, so no power changes anything")
    ranks, powers = Ranks.join(), sorted(cfg.powers)
    inventory = Inventory.of(split, folder, suffix=SUFFIX, what="maps", cure=CURE)
    inventory.check(folder, strict=cfg.strict, allow_missing=cfg.allow_missing)
    refuse_no_truth(split, inventory.found)
    mine = ranks.share(inventory.found)
    Products.at(folder, CURE).check_all([folder / f"{image_id}{SUFFIX}" for image_id in mine])
    metric = PowerCounts(len(powers), split.table.num_classes).to("cpu")
    counted = _counted(split, folder, mine, powers)
    for counts in progress(counted, "evaluate", total=len(mine), visible=ranks.first):
        metric.update(torch.from_numpy(counts))
    rows: list[dict[str, float | None]] = [
        {"power": power, **{key: number_or_null(getattr(scores, key)) for key in MEANS}}
        for power, scores in zip(powers, scores_of_powers(*metric.compute(), split.table), strict=True)
    ]
    best = max(rows, key=lambda row: row["miou"] or 0.0)["power"]
    images, note = (
        len(inventory.found),
        f"an analysis: looks at human masks of {split.name}; no setting is changed by it",
    )
    result: dict[str, object] = {
        "definition": f"label of the largest map m, background where (1 - m) ** power >= m, no CRF; {DEFINITION}",
        "measured": "here",
        "note": note,
        **{"dataset": cfg.dataset.name, "split": split.name, "maps": str(folder), "images": images},
        **{"missing": len(inventory.missing), "extra": len(inventory.extra), "command": command_line("evaluate")},
        "best": best,
        "powers": rows,
    }
    if ranks.first:
        path = scores_beside(folder, split.name, "powers")
        write_json(path, result)
        log.info(f"{table_of(rows, best)}\n{note}\n{path}")
    ranks.leave()
    return result


def _counted(split: Split, folder: Path, ids: Sequence[str], powers: Sequence[float]) -> Iterator[np.ndarray]:
    """Counts of each image, computed in threads."""

    def count(image_id: str) -> np.ndarray:
        truth, classes = split.colours.read(split.truths.path(image_id)), split.table.num_classes
        wrong = truth[(truth >= classes) & (truth != IGNORE)]
        if wrong.size:
            raise InputError(f"{image_id}: the truth has label {int(wrong[0])}; allowed are 0 to {classes - 1}")
        maps, labels = read_maps(folder / f"{image_id}{SUFFIX}", (truth.shape[0], truth.shape[1]), classes)
        return power_counts(maps, labels, truth, powers=powers, classes=classes)

    with ThreadPoolExecutor(cores()) as pool:
        yield from map_ahead(pool, count, ids, workers=cores())


def table_of(rows: Sequence[dict[str, float | None]], best: float | None) -> str:
    """A line a power; a star marks the one of the best mIoU."""
    lines = [f"{'power':>6}  {'mIoU %':>7}  {'mFPR':>5}  {'mFNR':>5}  {'small classes mFNR':>18}"]
    for row in rows:
        star = "*" if row["power"] == best else " "
        cells = f"{percent(row['miou']):>6}{star}  {ratio(row['mfpr']):>5}  {ratio(row['mfnr']):>5}"
        lines.append(f"{row['power']:>6g}  {cells}  {ratio(row['small_mfnr']):>18}")
    return "\n".join([*lines, "* best of these powers"])
