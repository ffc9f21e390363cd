"""Grounding DINO (Liu et al., ECCV 2024) finds boxes for class names, SAM makes masks of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from dhr.core.errors import InputError
from dhr.core.ranges import UnitInterval
from dhr.disk.weights.model_folder import ModelFolder
from dhr.disk.weights.pretrained import read_beside, read_layers
from dhr.grounder.boxes import Boxes, corners_of
from dhr.grounder.interface import Found, Task
from dhr.grounder.phrases import Phrases, texts_of
from dhr.grounder.sam import Sam, Segmenter


@dataclass(frozen=True)
class GroundingDino:
    """Which Grounding DINO finds boxes, and which SAM makes masks of them.

    Attributes:
        weights: a folder, or a name on the hub.
        segmenter: makes masks of the boxes.
        revision: of the hub's model, null for the newest.
        threshold: score above which a box counts.
    """

    weights: str
    segmenter: Sam
    revision: str | None = None
    threshold: UnitInterval = 0.3

    title: ClassVar[str] = "GroundingDINO+SAM"

    def open(self, task: Task) -> "BoxesFromNames":
        """See `Grounder`."""
        folder = ModelFolder.find(self.weights, self.revision, f"{task.place}.weights")
        folder.check_kind(("grounding-dino",), "IDEA-Research/grounding-dino-base")
        return BoxesFromNames(folder, self.threshold, task, self.segmenter.open(f"{task.place}.segmenter"))


@dataclass
class BoxesFromNames:
    """See `Finder`."""

    folder: ModelFolder
    threshold: float
    task: Task
    segmenter: Segmenter

    @cached_property
    def layers(self) -> Any:
        """Transformers' model."""
        return read_layers(self.folder, "GroundingDinoForObjectDetection")

    @cached_property
    def images(self) -> Any:
        """Transformers' processor of images."""
        return read_beside(self.folder, "GroundingDinoImageProcessor")

    @cached_property
    def tokenizer(self) -> Any:
        """Transformers' tokenizer."""
        return read_beside(self.folder, "AutoTokenizer")

    def settings(self) -> Mapping[str, object]:
        """See `Finder`."""
        return {
            "method": GroundingDino.title,
            "model": self.folder.digest(),
            "threshold": self.threshold,
            "segmenter": self.segmenter.folder.digest(),
        }

    def given(self, image_id: str) -> str:
        """See `Finder`."""
        return ""

    def __call__(self, image_id: str, pixels: Tensor, labels: Sequence[int], device: torch.device) -> Found:
        """See `Finder`."""
        return self.segmenter.masks_of(pixels, self.boxes(image_id, pixels, labels, device))

    @torch.no_grad()
    def boxes(self, image_id: str, pixels: Tensor, labels: Sequence[int], device: torch.device) -> Boxes:
        """A box has the class that it fits best, and that class's score; the boxes of all texts together.

        Raises:
            InputError: the model gives no numbers.
        """
        layers = self.layers.to(device)
        image = self.images(pixels, return_tensors="pt", input_data_format="channels_first").to(device)
        found = []
        for text in self.texts(labels):
            inputs = {name: values.to(device) for name, values in text.inputs.items()}
            seen = layers(**image, **inputs)
            scores, which = text.scores(seen.logits[0].sigmoid()).max(1)
            corners = corners_of(seen.pred_boxes[0], (pixels.shape[1], pixels.shape[2]))
            found.append((text.labels.to(device)[which], scores, corners))
        of_all, scores, corners = (torch.cat(each) for each in zip(*found, strict=True))
        if not bool(torch.isfinite(scores).all() and torch.isfinite(corners).all()):
            raise InputError(f"{image_id}: {self.folder.path} gives no numbers for it; are these weights sound?")
        return Boxes.sorted(of_all, scores, corners, threshold=self.threshold)

    def texts(self, labels: Sequence[int]) -> list[Phrases]:
        """The names of some classes, cut into as many texts as it takes: none is left out."""
        config = self.layers.config
        limit = min(config.max_text_len, config.text_config.max_position_embeddings)
        return texts_of(self.tokenizer, {each: self.task.words[each] for each in labels}, limit, place=self.task.place)
