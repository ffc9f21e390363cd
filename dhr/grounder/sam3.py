"""SAM 3 (Carion et al., 2025): all instances of what a text names, with their scores and masks."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from dhr.core.errors import InputError
from dhr.core.ranges import SmallCount, UnitInterval
from dhr.disk.weights.model_folder import ModelFolder
from dhr.disk.weights.pretrained import read_beside, read_layers
from dhr.grounder.interface import Found, Task
from dhr.runtime.memory import in_pieces

LARGE = 32  # masks that are brought to the size of the image together


@dataclass(frozen=True)
class Sam3:
    """Which SAM 3 finds instances.

    Attributes:
        weights: a folder, or a name on the hub.
        revision: of the hub's model, null for the newest.
        threshold: score above which an instance counts.
        at_once: class names that are looked for together; fewer where memory runs out.
    """

    weights: str
    revision: str | None = None
    threshold: UnitInterval = 0.5
    at_once: SmallCount = 8

    title: ClassVar[str] = "SAM3"

    def open(self, task: Task) -> "InstancesFromNames":
        """See `Grounder`."""
        folder = ModelFolder.find(self.weights, self.revision, f"{task.place}.weights")
        folder.check_kind(("sam3", "sam3_video"), "facebook/sam3")  # as published, it is a part of the one for videos
        return InstancesFromNames(folder, self, task)


@dataclass
class InstancesFromNames:
    """See `Finder`."""

    folder: ModelFolder
    how: Sam3
    task: Task

    @cached_property
    def layers(self) -> Any:
        """Transformers' model."""
        return read_layers(self.folder, "Sam3Model")

    @cached_property
    def images(self) -> Any:
        """Transformers' processor of images."""
        return read_beside(self.folder, "Sam3ImageProcessor")

    @cached_property
    def texts(self) -> tuple[Tensor, Tensor]:
        """Of the names of the classes that can be found, in their order, on the CPU.

        Returns:
            (C,L,D) vectors of their tokens, and (C,L) which of these are no padding.

        Raises:
            InputError: a name has more tokens than the model reads, or is to it the same as another one.
        """
        words = [word.lower() for word in self.task.words.values()]
        tokenizer = read_beside(self.folder, "AutoTokenizer")
        limit = int(self.layers.config.text_config.max_position_embeddings)
        tokens = [tuple(each) for each in tokenizer(words)["input_ids"]]
        longest, word = max(zip(map(len, tokens), words, strict=True))
        key = f"{self.task.place}.weights"
        if longest > limit:
            problem = f"{longest} tokens; this model reads at most {limit}, write a shorter name"
            raise InputError(f"{key}: class {word!r}: {problem}")
        if len({*tokens}) < len(words):
            twice = next(word for word, each in zip(words, tokens, strict=True) if tokens.count(each) > 1)
            problem = "the same to this model as another one; is the tokenizer beside it its own?"
            raise InputError(f"{key}: class {twice!r}: {problem}")
        inputs = tokenizer(words, return_tensors="pt", padding="max_length", max_length=limit)
        with torch.no_grad():
            vectors = self.layers.get_text_features(**inputs.to(self.layers.device)).pooler_output
        return vectors.cpu(), inputs["attention_mask"].cpu()

    def settings(self) -> Mapping[str, object]:
        """See `Finder`."""
        return {"method": Sam3.title, "model": self.folder.digest(), "threshold": self.how.threshold}

    def given(self, image_id: str) -> str:
        """See `Finder`."""
        return ""

    @torch.no_grad()
    def __call__(self, image_id: str, pixels: Tensor, labels: Sequence[int], device: torch.device) -> Found:
        """See `Finder`."""
        layers = self.layers.to(device)
        image = self.images(pixels, return_tensors="pt", input_data_format="channels_first")["pixel_values"]
        seen = layers.get_vision_features(image.to(device))
        chosen = torch.tensor(labels) - self.task.first

        def look(part: slice) -> tuple[Tensor, Tensor, Tensor, Tensor]:
            return self._instances(seen, chosen[part], device)

        pieces = [*in_pieces(len(labels), self.how.at_once, look)]
        found, scores, masks = (torch.cat([piece[number] for piece in pieces]) for number in range(3))
        best = torch.cat([piece[3] for piece in pieces])
        if not bool(torch.isfinite(best).all()):
            raise InputError(f"{image_id}: {self.folder.path} gives no numbers for it; are these weights sound?")
        order = scores.argsort(descending=True, stable=True)
        size = (pixels.shape[1], pixels.shape[2])
        return Found(found[order], scores[order], _enlarged(masks[order], size), labels[int(best.argmax())])

    def _instances(self, seen: Any, chosen: Tensor, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Labels, scores and (n,h,w) probabilities of the instances of some names, and the best score of every name.

        The score is that of the instance times that of the name being in the image at all.
        """
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        texts, used = (values[chosen].to(device) for values in self.texts)
        image = type(seen)(
            fpn_hidden_states=tuple(maps.expand(len(chosen), -1, -1, -1) for maps in seen.fpn_hidden_states),
            fpn_position_encoding=tuple(maps.expand(len(chosen), -1, -1, -1) for maps in seen.fpn_position_encoding),
        )
        made = self.layers(
            vision_embeds=image, text_embeds=BaseModelOutputWithPooling(pooler_output=texts), attention_mask=used
        )
        scores = made.pred_logits.sigmoid() * made.presence_logits.sigmoid()
        which, instance = (scores > self.how.threshold).nonzero(as_tuple=True)
        labels = chosen.to(device)[which] + self.task.first
        return labels, scores[which, instance], made.pred_masks[which, instance].sigmoid(), scores.amax(1)


def _enlarged(masks: Tensor, size: tuple[int, int]) -> Iterator[Tensor]:
    """(N,h,w) -> batches (n,H,W): the model saw the image stretched to a square."""

    def enlarge(part: slice) -> Tensor:
        return functional.interpolate(masks[part][None], size, mode="bilinear", align_corners=False)[0]

    yield from in_pieces(len(masks), LARGE, enlarge)
