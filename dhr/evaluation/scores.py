"""Scores from one joint histogram of truth and prediction (method: docs/method.md, "Metric")."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from dhr.core.errors import InputError
from dhr.core.labels import IGNORE
from dhr.dataset.classes import ClassTable
from dhr.evaluation.bootstrap import DEFINITION as INTERVALS
from dhr.evaluation.bootstrap import Intervals, interval_json
from dhr.evaluation.boundary import DEFINITION as BOUNDARY
from dhr.evaluation.boundary import BoundaryScores
from dhr.evaluation.objects import DEFINITION as OBJECTS
from dhr.evaluation.objects import recalls
from dhr.evaluation.small import DEFINITION as SMALL
from dhr.evaluation.small import (
    LABELS,
    ROWS,
    SmallObjects,
    SmallScores,
    mean_of,
    number_or_null,
    small_of,
    small_of_runs,
)

DEFINITION = (
    "one confusion matrix over all images, truth 255 left out; per class IoU = TP/U, FPR = (P-TP)/U, FNR = (T-TP)/U "
    "with U = T+P-TP; means over classes with U > 0; small classes: those whose mean area, in images that have them, "
    f"is below the median; {SMALL}"
)

UNCLASSED = "255 stands for no class, and every pixel needs one: predict these masks anew"
STRANGE = "were these masks made for another data set? Name it with dataset="


class JointHistogram(Metric):
    """Counts (truth, prediction) pairs over all pixels, exactly and over all ranks.

    The state is a (256,256) int64 histogram, and the number of images that hold each truth label.

    >>> metric, truth = JointHistogram(), torch.tensor([0, 0, 1, 255], dtype=torch.uint8)
    >>> metric.update(joint_histogram(torch.tensor([0, 1, 1, 1], dtype=torch.uint8), truth))
    >>> pairs, holders = metric.compute()
    >>> pairs[:2, :2].tolist(), holders[[0, 1, 255]].tolist()  # the truth's 255 is counted, and left out of scores
    ([[1, 1], [0, 1]], [1, 1, 1])
    """

    full_state_update = False
    pairs: Tensor
    holders: Tensor
    images: Tensor

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.add_state("pairs", torch.zeros(LABELS, LABELS, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("holders", torch.zeros(LABELS, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("images", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, pairs: Tensor, holders: Tensor | None = None, images: int = 1) -> None:
        """Adds one image, or several together.

        Args:
            pairs: joint histogram (256,256) of the images, see `joint_histogram`.
            holders: (256) how many of the images hold each truth label; None for one image, whose histogram says it.
            images: number of images.
        """
        self.pairs += pairs
        self.holders += pairs.sum(1) > 0 if holders is None else holders
        self.images += images

    def compute(self) -> tuple[Tensor, Tensor]:
        """The histogram (256,256), rows truth, and the holders (256)."""
        return self.pairs, self.holders


def joint_histogram(prediction: Tensor, truth: Tensor) -> Tensor:
    """(256,256) int64 counts of (truth, prediction) pairs of two uint8 masks of the same size.

    >>> prediction, truth = torch.tensor([[5, 5], [0, 0]]).byte(), torch.tensor([[5, 5], [5, 255]]).byte()
    >>> joint_histogram(prediction, truth).to_sparse().indices().T.tolist()  # (truth, prediction)
    [[5, 0], [5, 5], [255, 0]]
    """
    code = truth.flatten().to(torch.int64) * LABELS + prediction.flatten()
    return torch.bincount(code, minlength=LABELS * LABELS).view(LABELS, LABELS)


def joint_histogram_of(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Joint histogram of several (prediction, truth) pairs of uint8 masks (H,W), and the counts of each image.

    Counts runs of equal pairs, a few thousand in a mask, and not single pixels.

    Returns:
        (256,256) int64, rows truth; (256) how many images hold each truth label; (4,256) counts of small objects, see
        `dhr.evaluation.small.small_counts`. All zeros for no pair.

    >>> mask = np.uint8([[7, 7, 7, 255]])
    >>> pairs, holders, small = joint_histogram_of([(mask, mask), (mask, mask)])
    >>> int(pairs[7, 7]), int(holders[7]), int(small[0, 7])  # class 7 covers all that counts: it is not small
    (6, 2, 0)
    """
    codes, lengths = [np.zeros(0, np.uint16)], [np.zeros(0, np.int64)]
    holders, small = np.zeros(LABELS, np.int64), np.zeros((len(ROWS), LABELS), np.int64)
    for prediction, truth in pairs:
        labels, others = truth.ravel(), prediction.ravel()
        last = np.ones(labels.size, bool)  # whether a run ends here
        np.not_equal(labels[1:], labels[:-1], out=last[:-1])
        last[:-1] |= others[1:] != others[:-1]
        ends = np.flatnonzero(last)
        labels, others, length = labels[ends], others[ends], np.diff(ends, prepend=-1)
        codes.append(labels.astype(np.uint16) << 8 | others)
        lengths.append(length)
        holders += np.bincount(labels, minlength=LABELS) > 0
        small += small_of_runs(labels, others, length)
    counts = np.bincount(np.concatenate(codes), weights=np.concatenate(lengths), minlength=LABELS * LABELS)
    return counts.astype(np.int64).reshape(LABELS, LABELS), holders, small


@dataclass(frozen=True)
class Scores:
    """Scores of one set of masks.

    `miou` and `iou` are in percent, the rates are fractions; a class that occurs nowhere is NaN. `confusion` is
    (K,K), rows truth. `small_mfnr` is NaN where fewer than two tag classes occur, or all of them have the same area.
    `small` are the scores of small objects, None where they were not counted; so are `boundary`, `intervals` and the
    counts (S,4) of `objects`, see `dhr.evaluation.objects`.
    """

    miou: float
    mfpr: float
    mfnr: float
    small_mfnr: float
    iou: np.ndarray
    fpr: np.ndarray
    fnr: np.ndarray
    confusion: np.ndarray
    small: SmallScores | None = None
    boundary: BoundaryScores | None = None
    intervals: Intervals | None = None
    objects: np.ndarray | None = None


def check_labels(pairs: np.ndarray, num_classes: int, image_id: str) -> None:
    """Refuses labels out of range: in the truth, IGNORE excepted, and in the prediction where the truth counts.

    Args:
        pairs: joint histogram (256,256), rows truth.
        num_classes: K; labels are allowed from 0 to K-1.
        image_id: name of the image, for the error.

    Raises:
        InputError: names the image and the label.

    >>> check_labels(joint_histogram(torch.tensor([9, 1]), torch.tensor([255, 1])).numpy(), 2, image_id="cat")
    >>> check_labels(joint_histogram(torch.tensor([1, 1]), torch.tensor([2, 1])).numpy(), 2, image_id="cat")
    Traceback (most recent call last):
    dhr.core.errors.InputError: cat: the truth has label 2; allowed are 0 to 1 and 255; prepare the data set anew
    """
    truth = pairs.sum(1)
    wrong = np.flatnonzero(truth[num_classes:IGNORE]) + num_classes
    if wrong.size:
        raise InputError(
            f"{image_id}: the truth has label {wrong[0]}; allowed are 0 to {num_classes - 1} and {IGNORE}; "
            "prepare the data set anew"
        )
    predicted = pairs[:num_classes].sum(0)
    wrong = np.flatnonzero(predicted[num_classes:]) + num_classes
    if wrong.size:
        raise InputError(
            f"{image_id}: the prediction has label {wrong[0]} on {int(predicted[wrong[0]])} scored pixels; "
            f"allowed are 0 to {num_classes - 1}; {UNCLASSED if wrong[0] == IGNORE else STRANGE}"
        )


def scores_of(pairs: Tensor, holders: Tensor, table: ClassTable, *, small: Tensor | None = None) -> Scores:
    """Scores from counts over all images.

    Args:
        pairs: (256,256), a joint histogram that `check_labels` let pass.
        holders: (256) how many images hold each truth label.
        table: the classes.
        small: (4,256) counts of small objects, None to leave their scores out.
    """
    count = table.num_classes
    confusion = pairs[:count, :count].cpu().numpy()
    hit = confusion.diagonal().astype(np.float64)
    truth, predicted = confusion.sum(1), confusion.sum(0)
    union = truth + predicted - hit
    with np.errstate(invalid="ignore", divide="ignore"):
        iou, fpr, fnr = hit / union, (predicted - hit) / union, (truth - hit) / union
        area = truth / holders[:count].cpu().numpy()
    areas, tag_fnr = area[table.first_tag :], fnr[table.first_tag :]
    known = np.isfinite(areas)
    smaller = known & (areas < np.median(areas[known])) if known.any() else known
    return Scores(
        miou=mean_of(iou) * 100,
        mfpr=mean_of(fpr),
        mfnr=mean_of(fnr),
        small_mfnr=float(tag_fnr[smaller].mean()) if smaller.any() else float("nan"),
        iou=iou * 100,
        fpr=fpr,
        fnr=fnr,
        confusion=confusion,
        small=None if small is None else SmallScores.of(small, table),
    )


def as_json(scores: Scores, table: ClassTable, **described: object) -> dict[str, object]:
    """The score file: what was scored, the means, the classes and the confusion matrix; NaN becomes null."""
    edges, intervals = scores.boundary, scores.intervals
    classes = [
        {
            "name": name,
            "iou": number_or_null(scores.iou[index]),
            **({} if intervals is None else {"iou_interval": interval_json(intervals.iou[index])}),
            "fpr": number_or_null(scores.fpr[index]),
            "fnr": number_or_null(scores.fnr[index]),
            **({} if edges is None else {"boundary_iou": number_or_null(edges.iou[index])}),
            "truth_pixels": int(scores.confusion[index].sum()),
        }
        for index, name in enumerate(table.names)
    ]
    means = {key: number_or_null(getattr(scores, key)) for key in ("miou", "mfpr", "mfnr", "small_mfnr")}
    return {
        "definition": _definition(scores),
        "measured": "here",
        **described,
        **means,
        **({} if intervals is None else {"miou_interval": interval_json(intervals.miou)}),
        **({} if scores.small is None else {"small": scores.small.as_json(table)}),
        **({} if edges is None else {"boundary": edges.as_json()}),
        **({} if scores.objects is None else {"objects": recalls(scores.objects)}),
        "classes": classes,
        "confusion": scores.confusion.tolist(),
    }


def _definition(scores: Scores) -> str:
    """The definitions of the scores that are there."""
    parts = ((INTERVALS, scores.intervals), (BOUNDARY, scores.boundary), (OBJECTS, scores.objects))
    return "; ".join([DEFINITION, *(text for text, part in parts if part is not None)])


def score_pairs(pairs: Sequence[tuple[Tensor, Tensor]], table: ClassTable) -> Scores:
    """Scores of (prediction, truth) uint8 masks in memory, of this process alone: waits for no other rank.

    >>> from dhr.dataset.classes import load_classes
    >>> prediction, truth = torch.tensor([[0, 1, 1, 7]]).byte(), torch.tensor([[0, 0, 1, 255]]).byte()
    >>> scores = score_pairs([(prediction, truth)], load_classes("voc"))
    >>> scores.miou, scores.iou[:3].tolist()  # 19 of the 21 classes occur nowhere
    (50.0, [50.0, 50.0, nan])
    """
    histogram, small = JointHistogram(sync_on_compute=False), SmallObjects(sync_on_compute=False)
    for prediction, truth in pairs:
        joint = joint_histogram(prediction, truth)
        histogram.update(joint)
        small.update(torch.from_numpy(small_of(joint.cpu().numpy())))
    return scores_of(*histogram.compute(), table, small=small.compute())
