"""Masks from tags and the names of the classes: cells of an image compared with texts; nothing is trained."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Gt, Le
from torch import Tensor

from dhr.core.class_names import readable
from dhr.core.errors import InputError
from dhr.core.numerics import resize, to_unit_range
from dhr.core.ranges import Gamma, Precision, Scales, Templates, Texts
from dhr.dataset.classes import ClassTable
from dhr.disk.weights.model_folder import ModelFolder
from dhr.network.multi_scale import multi_scale_features
from dhr.network.precision import mixed
from dhr.wss.image_text.load import load_model
from dhr.wss.image_text.model import PLACE, ImageText
from dhr.wss.image_text.prompts import vectors_of
from dhr.wss.masks import masks_ahead, refined
from dhr.wss.recipe import Step
from dhr.wss.workshop import Workshop

NOT_FINITE = "the model gives no numbers here; try precision=fp32"


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
    """

    seen: ClassVar[tuple[str, ...]] = ()
    of_masks: ClassVar[frozenset[str]] = frozenset()
    name: str
    templates: Templates
    background: Texts | None
    revision: str | None = None
    tokens: Literal["value", "last"] = "value"
    gamma: Gamma = 2.0
    logit_scale: Annotated[float, Gt(0), Le(1000)] | None = None
    scales: Scales = (1.0,)
    flip: bool = True

    def steps(self, workshop: Workshop) -> Sequence[Step]:
        """See `Recipe`: the masks."""
        folder = ModelFolder.find(self.name, self.revision, f"{PLACE}.name")
        compared = Comparison(self, folder, workshop.wanted.table, workshop.precision)
        return [workshop.masks(partial(masks_of, compared, workshop), model=folder.digest())]


@dataclass
class Comparison:
    """Images against the names of the classes; model and texts are read at the first use."""

    recipe: TextRecipe
    folder: ModelFolder
    table: ClassTable
    precision: Precision = "fp32"

    @cached_property
    def model(self) -> ImageText:
        """See `load_model`."""
        return load_model(self.folder, through=self.recipe.tokens, precision=self.precision)

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
    """Ids and (H,W) uint8 masks of the scores after the CRF, see `masks_ahead`."""
    split, crf = workshop.wanted, workshop.crf

    def look(pixels: Tensor, tags: Tensor) -> Tensor:
        with mixed("fp32", workshop.device):  # the model computes in its own precision; texts and cosines are exact
            return compared.scores(pixels, tags, workshop.device)

    finish = partial(refined, crf=crf, first_tag=split.table.first_tag)
    return masks_ahead(split, ids, look, finish, workers=crf.workers, cure=NOT_FINITE)
