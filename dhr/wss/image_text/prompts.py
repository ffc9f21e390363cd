"""Vectors of class names."""

from collections.abc import Sequence

import torch
from torch import Tensor

from dhr.core.errors import InputError
from dhr.core.numerics import unit_vectors
from dhr.wss.image_text.model import ImageText

SAME = 1e-6  # distance of the cosine of two texts from 1 below which they are one to the model


def vectors_of(model: ImageText, words: Sequence[str], templates: Sequence[str]) -> Tensor:
    """(N,D) unit vectors of N words: the mean of the unit vectors of their prompts, of unit length again.

    Args:
        model: on its device.
        words: what the prompts are about.
        templates: prompts with {} for the word.

    Raises:
        InputError: two words have the same vector, so the tokenizer does not know them, or a prompt is too long.
    """
    means = [model.embed([template.replace("{}", word) for template in templates]).mean(0) for word in words]
    vectors = unit_vectors(torch.stack(means), dim=1)
    alike = (vectors @ vectors.T - 2 * torch.eye(len(words), device=vectors.device) > 1 - SAME).nonzero()
    if len(alike):
        first, second = (words[int(index)] for index in alike[0])
        raise InputError(
            f"wss.recipe.name: {first!r} and {second!r} are the same to this model; is the tokenizer beside it its own?"
        )
    return vectors
