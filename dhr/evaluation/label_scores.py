"""Scores of labels that several options make of the same images, side by side (`dhr.labels`)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from dhr.core.labels import IGNORE
from dhr.dataset.classes import ClassTable
from dhr.evaluation.scores import as_json, check_labels, joint_histogram_of, scores_of
from dhr.evaluation.small import LABELS, ROWS
from dhr.evaluation.tables import Column, markdown_table, number, percent, ratio

SHOWN = 10  # images named for an option that gain most, and that lose most
TOLD = 3  # of them on the terminal
DEFINITION = (
    "pixels that a label leaves out (255) are in no score, as they are in no loss, and counted in `unlabelled`, a "
    "share of the pixels that the truth does not leave out; image_miou: mean IoU in percent over the classes of truth "
    "or label in one image; seconds: median over the images, without what all options share"
)


def seconds(value: object) -> str:
    """Seconds with three decimals; a dash where there is no number."""
    return ratio(value)


COLUMNS = (
    Column("mIoU %", "miou", percent),
    Column("mFPR", "mfpr", ratio),
    Column("mFNR", "mfnr", ratio),
    Column("small objects mIoU %", "small.miou", percent),
    Column("small objects mFPR", "small.mfpr", ratio),
    Column("small objects mFNR", "small.mfnr", ratio),
    Column("unlabelled %", "unlabelled", percent),
    Column("s/image", "seconds", seconds),
)


@dataclass
class Tally:
    """Counts over all images of the labels that one option makes.

    Attributes:
        pairs: (256,256) joint histogram, rows truth.
        holders: (256) how many images hold each truth label.
        small: (4,256) counts of small objects.
        seconds: time of each image.
        image_miou: mIoU of each image in percent, by its name; NaN where no pixel counts.

    >>> tally = Tally()
    >>> tally.add("cat", np.uint8([[1, 1, 255, 0]]), np.uint8([[1, 0, 0, 0]]), seconds=0.5)
    >>> tally.image_miou  # what the label leaves out is in no score
    {'cat': 50.0}
    """

    pairs: np.ndarray = field(default_factory=lambda: np.zeros((LABELS, LABELS), np.int64))
    holders: np.ndarray = field(default_factory=lambda: np.zeros(LABELS, np.int64))
    small: np.ndarray = field(default_factory=lambda: np.zeros((len(ROWS), LABELS), np.int64))
    seconds: list[float] = field(default_factory=list)
    image_miou: dict[str, float] = field(default_factory=dict)

    def add(self, image_id: str, label: np.ndarray, truth: np.ndarray, seconds: float) -> None:
        """Counts the label (H,W) uint8 of an image against its truth; it took `seconds`."""
        pairs, holders, small = joint_histogram_of([(label, truth)])
        self.pairs += pairs
        self.holders += holders
        self.small += small
        self.seconds.append(seconds)
        scored = pairs[:IGNORE, :IGNORE]
        hit, union = scored.diagonal(), scored.sum(0) + scored.sum(1) - scored.diagonal()
        miou = float(100 * (hit[union > 0] / union[union > 0]).mean()) if union.any() else float("nan")
        self.image_miou[image_id] = miou

    def scores(self, table: ClassTable) -> dict[str, Any]:
        """Scores as in a score file, the share of pixels without a label, and the median of the seconds."""
        scored = self.pairs[:IGNORE]
        labelled = self.pairs.copy()
        labelled[:, IGNORE] = 0
        check_labels(labelled, table.num_classes, "labels")
        pairs, holders, small = map(torch.from_numpy, (labelled, self.holders, self.small))
        scores = as_json(scores_of(pairs, holders, table, small=small), table)
        unlabelled = float(scored[:, IGNORE].sum() / max(scored.sum(), 1))
        return {**scores, "unlabelled": unlabelled, "seconds": float(np.median(self.seconds))}


def summary(tallies: Mapping[str, Tally], table: ClassTable, against: str) -> dict[str, Any]:
    """Scores of every option, of every image, and which images gain and lose most against one of the options."""
    options = {name: tally.scores(table) for name, tally in tallies.items()}
    definition = next(iter(options.values()))["definition"]
    common = {"definition", "measured"}
    images = {
        image_id: {name: _rounded(tally.image_miou[image_id]) for name, tally in tallies.items()}
        for image_id in tallies[against].image_miou
    }
    return {
        "definition": f"{definition}; {DEFINITION}",
        "measured": "here",
        "options": {
            name: {key: value for key, value in scores.items() if key not in common} for name, scores in options.items()
        },
        "against": against,
        "changes": {name: changes(images, name, against) for name in tallies if name != against},
        "image_miou": images,
    }


def changes(images: Mapping[str, Mapping[str, float | None]], name: str, against: str) -> dict[str, list[list[Any]]]:
    """Images that an option helps most and hurts most, each [id, points of mIoU], the greatest change first.

    >>> images = {"a": {"dhr": 60.0, "none": 48.5}, "b": {"dhr": 70.0, "none": 71.0}, "c": {"dhr": 9.0, "none": 9.0}}
    >>> changes(images, "dhr", against="none")
    {'helps': [['a', 11.5]], 'hurts': [['b', -1.0]]}
    """
    gains = [
        (image_id, round(of[name] - of[against], 2))  # type: ignore[operator]
        for image_id, of in images.items()
        if of[name] is not None and of[against] is not None
    ]
    ordered = sorted(gains, key=lambda gain: -gain[1])
    return {
        "helps": [[image_id, gain] for image_id, gain in ordered[:SHOWN] if gain > 0],
        "hurts": [[image_id, gain] for image_id, gain in ordered[::-1][:SHOWN] if gain < 0],
    }


def changed(found: Mapping[str, Mapping[str, list[list[Any]]]], against: str) -> str:
    """A line for each option: the images that it helps and hurts most.

    >>> print(changed({"dhr": {"helps": [["a", 11.5]], "hurts": []}, "paper": {"helps": [], "hurts": []}}, "none"))
    dhr: against none, mIoU of an image: helps a +11.5
    paper: against none, mIoU of an image: no image changes
    """
    lines = []
    for name, ends in found.items():
        parts = [
            f"{what} {', '.join(f'{image_id} {gain:+.1f}' for image_id, gain in ends[what][:TOLD])}"
            for what in ("helps", "hurts")
            if ends[what]
        ]
        lines.append(f"{name}: against {against}, mIoU of an image: {'; '.join(parts) or 'no image changes'}")
    return "\n".join(lines)


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 3)


def markdown(options: Mapping[str, Mapping[str, Any]]) -> str:
    """The table of all options, in their order; without the column of unlabelled pixels where there are none.

    >>> [line[:19] for line in markdown({"none": {"miou": 40.0}, "dhr": {"miou": 46.5}}).splitlines()]
    ['| labels | mIoU % |', '| ------ | -----: |', '| `none` |   40.0 |', '| `dhr`  |   46.5 |']
    """
    any_left_out = any(number(scores.get("unlabelled")) for scores in options.values())
    columns = [column for column in COLUMNS if any_left_out or column.key != "unlabelled"]
    rows = [["labels", *(column.head for column in columns)]]
    for name, scores in options.items():
        scores = {**scores, "unlabelled": 100 * (number(scores.get("unlabelled")) or 0)}
        rows.append([f"`{name}`", *(column.text(column.value(scores)) for column in columns)])
    return markdown_table(rows)
