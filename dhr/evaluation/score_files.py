"""The files beside a score file: a line a class for spreadsheets, and the tables for a paper."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from dhr.evaluation.tables import NOTHING, Column, count, interval, markdown_table, percent, ratio

MEAN = "mean"
OF_CLASSES = (
    Column("IoU %", "iou", percent),
    Column("95 % interval", "iou_interval", interval),
    Column("FPR", "fpr", ratio),
    Column("FNR", "fnr", ratio),
    Column("boundary IoU %", "boundary_iou", percent),
    Column("small objects IoU %", "small_iou", percent),
)
KEYS = ("iou", "iou_low", "iou_high", "fpr", "fnr", "boundary_iou", "small_iou", "truth_pixels")


def csv_of(scores: Mapping[str, Any]) -> bytes:
    """A line a class and one for the mean, after a line with the names of the columns; empty where nothing is known.

    The IoU is in percent with one decimal, rates are fractions with three, as in every table.
    """
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["class", *KEYS])
    for row in _rows(scores):
        low, high = row.get("iou_interval") or (None, None)
        texts = [percent(row["iou"]), percent(low), percent(high), ratio(row["fpr"]), ratio(row["fnr"])]
        texts += [percent(row.get("boundary_iou")), percent(row.get("small_iou"))]
        pixels = row["truth_pixels"]
        writer.writerow([row["name"], *("" if text == NOTHING else text for text in texts), pixels])
    return buffer.getvalue().encode()


def markdown_of(scores: Mapping[str, Any]) -> bytes:
    """What was scored, a table of the classes with the mean as its last line, one of objects, and the definition."""
    rows = _rows(scores)
    columns = [column for column in OF_CLASSES if any(column.text(column.value(row)) != NOTHING for row in rows)]
    classes = [["class", *(column.head for column in columns)]]
    classes += [[row["name"], *(column.text(column.value(row)) for column in columns)] for row in rows]
    sizes = scores.get("objects") or ()
    small = [["objects on less than", "objects", "recall", "found"]]
    small += [
        [f"{row['below']:.0%}", count(row["objects"]), ratio(row["recall"]), ratio(row["found"])] for row in sizes
    ]
    images = f"{count(scores['images'])} images, {count(scores['missing'])} missing"
    head = f"{scores['dataset']} {scores['split']}: mIoU {percent(scores['miou'])} %, {images}."
    parts = [head, markdown_table(classes), *([markdown_table(small)] if sizes else [])]
    parts.append(f"Definition: {scores['definition']}.")
    return ("\n\n".join(parts) + "\n").encode()


def _rows(scores: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The classes as they stand in the scores, and the mean with the keys of a class."""
    small = scores.get("small") or {}
    of_small = [entry.get("iou") for entry in small.get("classes") or [{}] * len(scores["classes"])]
    rows = [{**entry, "small_iou": iou} for entry, iou in zip(scores["classes"], of_small, strict=True)]
    mean = {
        "name": MEAN,
        "iou": scores["miou"],
        "iou_interval": scores.get("miou_interval"),
        "fpr": scores["mfpr"],
        "fnr": scores["mfnr"],
        "boundary_iou": (scores.get("boundary") or {}).get("miou"),
        "small_iou": small.get("miou"),
        "truth_pixels": sum(entry["truth_pixels"] for entry in scores["classes"]),
    }
    return [*rows, mean]
