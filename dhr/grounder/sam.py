"""SAM (Kirillov et al., ICCV 2023): the mask of what a box holds."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from dhr.core.ranges import SmallCount
from dhr.disk.weights.model_folder import ModelFolder
from dhr.disk.weights.pretrained import read_beside, read_layers
from dhr.grounder.boxes import Boxes
from dhr.grounder.interface import Found
from dhr.runtime.memory import in_pieces


@dataclass(frozen=True)
class Sam:
    """Which SAM makes masks of boxes.

    Attributes:
        weights: a folder, or a name on the hub.
        revision: of the hub's model, null for the newest.
        at_once: boxes whose masks are made together; fewer where memory runs out.
    """

    weights: str
    revision: str | None = None
    at_once: SmallCount = 32

    def open(self, place: str) -> "Segmenter":
        """Finds its files; `place` is the key of the configuration that describes it.

        Raises:
            InputError: they are missing, or those of another model.
        """
        folder = ModelFolder.find(self.weights, self.revision, f"{place}.weights")
        folder.check_kind(("sam",), "facebook/sam-vit-huge")
        return Segmenter(folder, self.at_once)


@dataclass
class Segmenter:
    """A SAM at work; its weights are read at the first look."""

    folder: ModelFolder
    at_once: int

    @cached_property
    def layers(self) -> Any:
        """Transformers' model."""
        return read_layers(self.folder, "SamModel")

    @cached_property
    def processor(self) -> Any:
        """Transformers' processor of images and boxes."""
        from transformers import SamProcessor

        return SamProcessor(read_beside(self.folder, "SamImageProcessor"))

    def masks_of(self, pixels: Tensor, boxes: Boxes) -> Found:
        """The boxes with their masks: of each the one mask that SAM gives where it need not be in doubt.

        Args:
            pixels: (3,H,W) uint8 RGB.
            boxes: in the image, on the device where SAM is at work.
        """
        return Found(boxes.labels, boxes.scores, self._masks(pixels, boxes.corners), boxes.likeliest)

    @torch.no_grad()
    def _masks(self, pixels: Tensor, corners: Tensor) -> Iterator[Tensor]:
        if not len(corners):
            return
        layers, device = self.layers.to(corners.device), corners.device
        given = self.processor(
            pixels, input_boxes=[corners.tolist()], return_tensors="pt", input_data_format="channels_first"
        )
        image = layers.get_image_embeddings(given["pixel_values"].to(device))
        prompts = given["input_boxes"].to(device, torch.float32)

        def masks(part: slice) -> Tensor:
            made = layers(image_embeddings=image, input_boxes=prompts[:, part], multimask_output=False).pred_masks
            (logits,) = self.processor.post_process_masks(
                made, given["original_sizes"], given["reshaped_input_sizes"], binarize=False
            )
            return logits[:, 0].sigmoid()

        yield from in_pieces(len(corners), self.at_once, masks)
