"""What every image-text model offers: unit vectors of the cells of an image, and of texts."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from dhr.core.errors import InputError
from dhr.core.numerics import unit_vectors
from dhr.core.ranges import Precision
from dhr.disk.weights.model_folder import Colours
from dhr.network.precision import mixed

Through = Literal["value", "last"]
PLACE = "wss.recipe"


class ImageText(nn.Module, ABC):
    """A frozen model of the library transformers.

    Args:
        layers: transformers' model.
        tokenizer: transformers'.
        colours: mean and deviation that images are normalised with.
        through: what the last attention layer hands on, see the families.
        precision: of the matrix products for images; what comes out is float32.

    Attributes:
        padding: arguments of the tokenizer, as the texts of the training were padded.
        text_inputs: what the text model gets of the tokenizer's output.
    """

    padding: ClassVar[Mapping[str, Any]] = {"padding": True}
    text_inputs: ClassVar[Sequence[str]] = ("input_ids", "attention_mask")

    def __init__(
        self, layers: Any, tokenizer: Any, colours: Colours, *, through: Through, precision: Precision
    ) -> None:
        super().__init__()
        self.layers: Any = layers.requires_grad_(False).eval()
        self.tokenizer = tokenizer
        self.through = through
        self.precision: Precision = precision
        self.patch_size = int(layers.config.vision_config.patch_size)
        mean, deviation = (torch.tensor(values)[:, None, None] for values in colours)
        self.mean = nn.Buffer(mean, persistent=False)
        self.deviation = nn.Buffer(deviation, persistent=False)

    @abstractmethod
    def cells(self, image: Tensor) -> Tensor:
        """(B,3,H,W) normalised for the model, sides multiples of the patch -> (B,h*w,D), row by row."""

    @property
    @abstractmethod
    def logit_scale(self) -> float:
        """What cosines are multiplied with before the soft-max, as the model learnt it."""

    @torch.no_grad()
    def forward(self, image: Tensor) -> Tensor:
        """(B,3,H,W) RGB in [0,1], sides multiples of the patch -> (B,D,h,w) unit vectors."""
        with mixed(self.precision, image.device):
            cells = self.cells((image - self.mean) / self.deviation)
        grid = (image.shape[-2] // self.patch_size, image.shape[-1] // self.patch_size)
        return unit_vectors(cells.float(), dim=2).transpose(1, 2).unflatten(2, grid)

    @torch.no_grad()
    def embed(self, texts: Sequence[str]) -> Tensor:
        """(N,D) unit vectors of texts; all models here were trained on lower case.

        Raises:
            InputError: a text has more tokens than the model reads.
        """
        inputs = self.tokenizer([text.lower() for text in texts], return_tensors="pt", **self._padded())
        limit, longest = self._limit, int(inputs["input_ids"].shape[1])
        if longest > limit:
            raise InputError(
                f"{PLACE}.templates: {max(texts, key=len)!r}: {longest} tokens; this model reads at most {limit}, "
                "write shorter ones"
            )
        vectors = self.layers.get_text_features(**{key: inputs[key].to(self.mean.device) for key in self.text_inputs})
        return unit_vectors(vectors.pooler_output.float(), dim=1)

    @property
    def _limit(self) -> int:
        return int(self.layers.config.text_config.max_position_embeddings)

    def _padded(self) -> dict[str, Any]:
        return (
            {**self.padding, "max_length": self._limit} if self.padding["padding"] == "max_length" else {**self.padding}
        )


def alone(layer: nn.Module, tokens: Tensor) -> Tensor:
    """What a layer gives for each of the tokens (B,N,D) if there is no other one.

    The soft-max over one key is 1, so the attention hands on the value of the token itself.
    """
    given = layer(tokens.flatten(0, 1)[:, None])
    return given.reshape(*tokens.shape[:2], -1)
