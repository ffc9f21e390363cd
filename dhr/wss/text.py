"""Masks from tags and the names of the classes: cells of an image compared with texts; nothing is trained."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Annotated, Literal

import torch
from annotated_types import Gt, Le
from torch import Tensor

from dhr.core.errors import InputError
from dhr.core.labels import IGNORE
from dhr.core.numerics import fast_argmax, resize, to_unit_range
from dhr.core.ranges import Gamma, Scales, Templates, Texts
from dhr.crf.interface import naming_images
from dhr.dataset.classes import ClassTable
from dhr.network.multi_scale import multi_scale_features
from dhr.runtime.pools import map_ahead
from dhr.wss.image_text.folder import ModelFolder
from dhr.wss.image_text.load import load_model
from dhr.wss.image_text.model import ImageText
from dhr.wss.image_text.prompts import readable, vectors_of
from dhr.wss.recipe import Step
from dhr.wss.workshop import Workshop

NOT_FINITE = "the model gives no numbers here; try wss.recipe.precision=fp32"


@dataclass(frozen=True)
class TextRecipe:
    """Which model looks at the images, and how its comparisons become masks.

    Attributes:
        name: a folder, or a name on the hub: CLIP, SigLIP, SigLIP 2 or TIPSv2.
        templates: prompts for a class name, which stands for {}; their vectors are averaged.
        background: what the background may be, in words; a cell's likeness to it is that to the likest of them. Without
            words every tag's map is min-max scaled, and the background is (1 - max of the maps) ** gamma.
        revision: of the hub's model, null for the newest.
        tokens: what the last attention layer hands on of a cell: its own value, or what it gathered ("last"), which
            models that pool the image by attention do not have.
        gamma: see `background`.
        logit_scale: factor of the cosines before the soft-max; null for the one that the model learnt.
        scales: factors on the image size; the cosines are averaged.
        flip: whether the mirrored image is averaged in.
        precision: of the matrix products.
    """

    name: str
    templates: Templates
    background: Texts | None
    revision: str | None = None
    tokens: Literal["value", "last"] = "value"
    gamma: Gamma = 2.0
    logit_scale: Annotated[float, Gt(0), Le(1000)] | None = None
    scales: Scales = (1.0,)
    flip: bool = True
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"

    def steps(self, workshop: Workshop) -> Sequence[Step]:
        """See `Recipe`: the masks."""
        folder = ModelFolder.find(self.name, self.revision)
        compared = Comparison(self, folder, workshop.wanted.table)
        return [workshop.masks(partial(masks_of, compared, workshop), model=folder.digest())]


@dataclass
class Comparison:
    """Images against the names of the classes; model and texts are read at the first use."""

    recipe: TextRecipe
    folder: ModelFolder
    table: ClassTable

    @cached_property
    def model(self) -> ImageText:
        """See `load_model`."""
        return load_model(self.folder, through=self.recipe.tokens, precision=self.recipe.precision)

    @cached_property
    def texts(self) -> tuple[Tensor, Tensor]:
        """Unit vectors (W,D) of what the background may be, and (T,D) of the classes that can be tagged.

        Raises:
            InputError: a class of the data set stands among the words for the background.
        """
        names = [readable(name) for name in self.table.names[self.table.first_tag :]]
        words = list(self.recipe.background or ()) if self.table.has_background else []
        both = [word for word in words if word in names]
        if both:
            raise InputError(f"wss.recipe.background: {both[0]}: is a class of {self.table.name}; leave it out")
        vectors = vectors_of(self.model, words + names, self.recipe.templates)
        return vectors[: len(words)], vectors[len(words) :]

    @torch.no_grad()
    def scores(self, pixels: Tensor, tags: Tensor, device: torch.device) -> Tensor:
        """How well each pixel of an image fits its tags, the background before them where the data set has one.

        Args:
            pixels: (3,H,W) uint8 RGB.
            tags: (T) 0/1, at least one.
            device: where the model is at work.

        Returns:
            (C,H,W) in [0,1].
        """
        recipe, model = self.recipe, self.model.to(device)
        words, names = (vectors.to(device) for vectors in self.texts)
        tagged = names[tags.nonzero()[:, 0].to(device)]
        looks = Likeness(model, torch.cat([words, tagged]))
        image = pixels[None].to(device) / 255
        cosines = multi_scale_features(looks, image, scales=recipe.scales, flip=recipe.flip)
        surroundings, classes = cosines.split([len(words), len(tagged)], 1)
        if len(words):
            classes = torch.cat([surroundings.amax(1, keepdim=True), classes], 1)
        classes = resize(classes, (pixels.shape[1], pixels.shape[2]))
        if recipe.background is not None:
            return (classes * (recipe.logit_scale or model.logit_scale)).softmax(1)[0]
        maps = to_unit_range(classes, torch.ones_like(classes[:, :1], dtype=torch.bool))[0]
        background = (1 - maps.amax(0, keepdim=True)) ** recipe.gamma
        return torch.cat([background, maps]) if self.table.has_background else maps


class Likeness:
    """An `Extractor` of the cosines between the cells of an image and some texts."""

    def __init__(self, model: ImageText, texts: Tensor) -> None:
        self.model, self.texts = model, texts
        self.patch_size, self.dim = model.patch_size, len(texts)

    def __call__(self, image: Tensor) -> Tensor:
        """(B,3,H,W) RGB in [0,1] -> (B,N,h,w)."""
        return torch.einsum("bdhw,nd->bnhw", self.model(image), self.texts)


def masks_of(compared: Comparison, workshop: Workshop, ids: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
    """Ids and (H,W) uint8 masks, in this order; the CRF of some images runs while the model sees the next ones.

    An image without tags is background everywhere, or IGNORE where the data set has no background class.

    Raises:
        InputError: the scores of an image are no probabilities.
    """
    split, crf, first_tag = workshop.wanted, workshop.crf, compared.table.first_tag

    def looked_at() -> Iterator[tuple[str, Tensor, Tensor, Tensor | None]]:
        for image_id in ids:
            pixels, tags = split.pixels(image_id), split.tags(image_id)
            labels = tags.nonzero()[:, 0] + first_tag
            scores = compared.scores(pixels, tags, workshop.device).cpu() if len(labels) else None
            yield image_id, pixels, torch.cat([torch.zeros(first_tag, dtype=torch.long), labels]), scores

    def refined(seen: tuple[str, Tensor, Tensor, Tensor | None]) -> tuple[str, Tensor]:
        image_id, pixels, labels, scores = seen
        if scores is None:
            return image_id, torch.full(pixels.shape[1:], 0 if first_tag else IGNORE, dtype=torch.uint8)
        with naming_images([image_id], NOT_FINITE):
            everywhere, present = torch.ones(1, *pixels.shape[1:], dtype=torch.bool), torch.ones(1, len(labels))
            marginals = crf.on(pixels[None], everywhere)(scores[None], present.bool())
            return image_id, labels[fast_argmax(marginals[0], dim=0)].to(torch.uint8)

    with ThreadPoolExecutor(crf.workers or 1) as pool:
        yield from map_ahead(pool, refined, looked_at(), workers=crf.workers or 1)
