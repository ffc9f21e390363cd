"""Class names as a person would write them, and their vectors."""

from collections.abc import Sequence

import torch
from torch import Tensor

from dhr.core.errors import InputError
from dhr.core.numerics import unit_vectors
from dhr.wss.image_text.model import ImageText

WRITTEN = {  # names of our class tables that no rule makes readable
    "diningtable": "dining table",
    "pottedplant": "potted plant",
    "tvmonitor": "tv monitor",
    "playingfield": "playing field",
    "waterdrops": "water drops",
    "window-blind": "window blind",
}
WITHOUT_MEANING = ("other", "stuff")  # second parts of names such as sky-other and door-stuff
SAME = 1e-6  # distance of the cosine of two texts from 1 below which they are one to the model


def readable(name: str) -> str:
    """A class name in words.

    >>> [readable(name) for name in ("tvmonitor", "wall-brick", "sky-other", "ember_disc", "traffic light")]
    ['tv monitor', 'brick wall', 'sky', 'ember disc', 'traffic light']
    """
    if name in WRITTEN:
        return WRITTEN[name]
    what, _, which = name.partition("-")
    words = f"{which} {what}" if which and which not in WITHOUT_MEANING else what
    return words.replace("_", " ").replace("-", " ").strip()


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
