"""Boxes that another program found: a file of JSON lines, every one of them checked."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dhr.core.errors import InputError
from dhr.core.words import nearest
from dhr.disk.reading import read_file
from dhr.disk.stated import shown
from dhr.grounder.interface import Task

FORM = '{"image": "<id>", "class": "<name>", "box": [x0, y0, x1, y1], "score": 0.9}'
BYTES = 1 << 30
Corners = tuple[float, float, float, float]


@dataclass(frozen=True)
class StatedBox:
    """A line: label of the class, its box in pixels, its score."""

    label: int
    corners: Corners
    score: float


def read_boxes(path: Path, task: Task, *, key: str) -> dict[str, list[StatedBox]]:
    """The boxes of every image that has any, in the order of the file; empty lines are passed over.

    Args:
        path: a file with lines of the form `FORM`.
        task: the images and classes that can be meant; a class may be written as the data set or as a person writes it.
        key: of the configuration that names the file, for messages.

    Raises:
        InputError: names the line, what is wrong and what is due: no JSON, a key that is missing, an unknown image or
            class, a box that is empty or not inside its image, a score not from 0 to 1, a box that stands there twice.
    """
    reader = BoxReader(path, task)
    data = read_file(path, "boxes", absent="no such file", cure=f"set {key}=<file>, lines of {FORM}", limit=BYTES)
    for number, line in enumerate(data.split(b"\n"), start=1):
        if line.strip():
            reader.take(number, line)
    return reader.boxes


class BoxReader:
    """Takes lines one after the other.

    Attributes:
        boxes: what was taken, by image.
    """

    def __init__(self, path: Path, task: Task) -> None:
        self.path, self.task = path, task
        self.boxes: dict[str, list[StatedBox]] = {}
        self._ids = frozenset(task.ids)
        self._sizes: dict[str, tuple[int, int]] = {}
        self._labels = {word: label for label, word in task.words.items()}
        self._labels |= {name: label for label, name in enumerate(task.names) if label >= task.first}
        self._lines: dict[tuple[str, int, Corners], int] = {}

    def take(self, number: int, line: bytes) -> None:
        """Enters a line, or says what is wrong with it."""
        place = f"{self.path}: line {number}"
        values = _object(line, place)
        image_id, label = self._image(values["image"], place), self._label(values["class"], place)
        corners = self._corners(values["box"], image_id, place)
        score = _number(values["score"])
        if score is None or not 0 <= score <= 1:
            raise InputError(f"{place}: score: {shown(values['score'])}: a number from 0 to 1 is due")
        before = self._lines.setdefault((image_id, label, corners), number)
        if before != number:
            raise InputError(
                f"{place}: {image_id}: line {before} has the same box of this class; delete one of the two"
            )
        self.boxes.setdefault(image_id, []).append(StatedBox(label, corners, score))

    def _image(self, stated: Any, place: str) -> str:
        if not isinstance(stated, str) or stated not in self._ids:
            cure = "leave these lines out, or name the split whose images they are about: dataset=..., split=..."
            raise InputError(f"{place}: image: {shown(stated)}: no image of this split has this id; {cure}")
        return stated

    def _label(self, stated: Any, place: str) -> int:
        if not isinstance(stated, str) or stated not in self._labels:
            names = self.task.names[self.task.first :]
            close = nearest(stated, names) if isinstance(stated, str) else ""
            known = f"{close}known: {', '.join(names)}"
            raise InputError(f"{place}: class: {shown(stated)}: no class of this data set; {known}")
        return self._labels[stated]

    def _corners(self, stated: Any, image_id: str, place: str) -> Corners:
        numbers = [_number(each) for each in stated] if isinstance(stated, list) else []
        finite = [number for number in numbers if number is not None]
        if len(numbers) != 4 or len(finite) != 4:
            raise InputError(f"{place}: box: {shown(stated)}: four numbers are due: x0, y0, x1, y1 in pixels")
        left, top, right, bottom = finite
        if left >= right or top >= bottom:
            raise InputError(f"{place}: box: {shown(stated)}: is empty; x0 < x1 and y0 < y1 are due")
        if image_id not in self._sizes:
            self._sizes[image_id] = self.task.size_of(image_id)
        height, width = self._sizes[image_id]
        if left < 0 or top < 0 or right > width or bottom > height:
            due = f"x from 0 to {width} and y from 0 to {height} are due"
            raise InputError(f"{place}: box: {shown(stated)}: not inside {image_id}; {due}")
        return left, top, right, bottom


def _object(line: bytes, place: str) -> Mapping[str, Any]:
    """The object of a line, with all keys."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:  # what is not UTF-8 is a ValueError too
        raise InputError(f"{place}: not readable as JSON ({error}); due is {FORM}") from None
    if not isinstance(values, dict):
        raise InputError(f"{place}: {shown(values)}: not an object; due is {FORM}")
    lacking = [key for key in ("image", "class", "box", "score") if key not in values]
    if lacking:
        raise InputError(f"{place}: {lacking[0]}: is missing; due is {FORM}")
    return values


def _number(value: Any) -> float | None:
    """A finite number, None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
