"""Boxes that Ferret (You et al., ICLR 2024), or any other program, found for class names; SAM makes masks of them."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from dhr.core.errors import InputError
from dhr.core.words import open_home
from dhr.grounder.box_file import FORM, StatedBox, read_boxes
from dhr.grounder.boxes import Boxes
from dhr.grounder.interface import Found, Task
from dhr.grounder.sam import Sam, Segmenter

DIGITS = 12  # of a digest


@dataclass(frozen=True)
class Ferret:
    """Where the boxes are, and which SAM makes masks of them.

    Attributes:
        boxes: a file of JSON lines, see `dhr.grounder.box_file.FORM`.
        segmenter: makes masks of the boxes.
    """

    boxes: str | None
    segmenter: Sam

    title: ClassVar[str] = "Ferret+SAM"

    def open(self, task: Task) -> "BoxesFromFile":
        """See `Grounder`; every line of the file is checked."""
        key = f"{task.place}.boxes"
        if self.boxes is None:
            raise InputError(
                f"{key}: null: Ferret runs elsewhere, its boxes are due; set {key}=<file>, lines of {FORM}"
            )
        boxes = read_boxes(Path(open_home(self.boxes)), task, key=key)
        return BoxesFromFile(boxes, self.segmenter.open(f"{task.place}.segmenter"))


@dataclass(frozen=True)
class BoxesFromFile:
    """See `Finder`."""

    boxes: Mapping[str, Sequence[StatedBox]]
    segmenter: Segmenter

    def settings(self) -> Mapping[str, object]:
        """See `Finder`; the boxes are those of one image each, so that a longer file changes nothing of the others."""
        return {"method": Ferret.title, "segmenter": self.segmenter.folder.digest()}

    def given(self, image_id: str) -> str:
        """See `Finder`."""
        stated = repr([(box.label, box.corners, box.score) for box in self.boxes.get(image_id, ())])
        count = len(self.boxes.get(image_id, ()))
        return f"{count} boxes ({hashlib.sha256(stated.encode()).hexdigest()[:DIGITS]})"

    def __call__(self, image_id: str, pixels: Tensor, labels: Sequence[int], device: torch.device) -> Found:
        """See `Finder`."""
        stated = [box for box in self.boxes.get(image_id, ()) if box.label in labels]
        boxes = Boxes.sorted(
            torch.tensor([box.label for box in stated], dtype=torch.int64, device=device),
            torch.tensor([box.score for box in stated], device=device),
            torch.tensor([box.corners for box in stated], device=device).reshape(-1, 4),
            threshold=-1,
        )
        return self.segmenter.masks_of(pixels, boxes)
