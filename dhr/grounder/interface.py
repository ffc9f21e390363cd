"""What every grounder offers: instances of an image, with the label, the score and the mask of each."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from dhr.core.class_names import readable


@dataclass(frozen=True)
class Task:
    """The images and classes of a call.

    Attributes:
        names: of all classes; a label is a place in them.
        first: label of the first class that can be found; the one before it is the background.
        ids: of the images.
        size_of: (height, width) of an image.
        place: key of the configuration that describes the grounder, for messages.
    """

    names: tuple[str, ...]
    first: int
    ids: Sequence[str]
    size_of: Callable[[str], tuple[int, int]]
    place: str = "grounder"

    @cached_property
    def words(self) -> Mapping[int, str]:
        """The classes that can be found, by label, as a person would write them."""
        return {label: readable(name) for label, name in enumerate(self.names) if label >= self.first}


@dataclass(frozen=True)
class Found:
    """Instances in an image, the best first.

    Attributes:
        labels: (N) of their classes.
        scores: (N) in [0,1], falling.
        masks: batches (n,H,W) of how likely a pixel belongs to each, in [0,1], in the same order; made when asked for.
        likeliest: label of the best of all candidates, also of those that are too bad to be among the instances; None
            where there was no candidate.
    """

    labels: Tensor
    scores: Tensor
    masks: Iterable[Tensor]
    likeliest: int | None


NOTHING = Found(torch.zeros(0, dtype=torch.int64), torch.zeros(0), (), None)


class Finder(Protocol):
    """A grounder at work; models are read at the first look."""

    def settings(self) -> Mapping[str, object]:
        """All that decides what is found, by content."""
        ...

    def given(self, image_id: str) -> str:
        """What else decides what is found in one image, in words; empty where that is nothing."""
        ...

    def __call__(self, image_id: str, pixels: Tensor, labels: Sequence[int], device: torch.device) -> Found:
        """Looks for some classes in an image.

        Args:
            image_id: of the image.
            pixels: (3,H,W) uint8 RGB.
            labels: of the classes, rising; at least one.
            device: where the models are at work.

        Raises:
            InputError: a model gives no numbers, or what it needs of this image is wrong.
        """
        ...


class Grounder(Protocol):
    """The settings of a method.

    Attributes:
        title: name of the folder of its masks.
    """

    @property
    def title(self) -> str:
        """See above."""
        ...

    def open(self, task: Task) -> Finder:
        """Finds the files and checks what can be checked before the work.

        Raises:
            InputError: something is missing or wrong.
        """
        ...
