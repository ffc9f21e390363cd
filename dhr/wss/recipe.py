"""What a WSS method consists of: steps, planned before any of them is done, and done one after the other."""

import logging
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeVar

import numpy as np
import torch

from dhr.core.words import duration
from dhr.training.fitting import is_first_process
from dhr.wss.steps import Training

if TYPE_CHECKING:
    from dhr.wss.workshop import Workshop

T_co = TypeVar("T_co", covariant=True)
TRIALS = 3
log = logging.getLogger("dhr.train_wss")


class Step(Protocol):
    """A part of the work of a method; what it made stays, so that a second call only does the rest."""

    @property
    def name(self) -> str:
        """What it makes, in messages."""
        ...

    @property
    def unit(self) -> str:
        """What `amount` counts: "steps" or "images"."""
        ...

    def amount(self) -> int:
        """How much is still to be done, 0 if all is there.

        Raises:
            InputError: what is there was made with other settings.
        """
        ...

    def trial(self) -> float:
        """Does a little of the work and keeps nothing of it: seconds of one unit, as if all of it were done."""
        ...

    def run(self) -> None:
        """Does what is not done yet."""
        ...


class Start(Protocol[T_co]):
    """Builds what a training starts from."""

    def __call__(self, *, trained: bool = False) -> T_co:
        """A new one; with `trained` one that learnt weights will come over, so that nobody fetches others for it."""
        ...


class Recipe(Protocol):
    """The settings of a method, from which its steps follow.

    Attributes:
        seen: what it learns from, beside tags and images, whose weights saw something before: "recipe" (its own
            backbone), "backbone", "uss", "source".
        of_masks: names of those that decide how a trained network makes masks, and nothing of what it learns.
    """

    seen: ClassVar[tuple[str, ...]]
    of_masks: ClassVar[frozenset[str]]

    def steps(self, workshop: "Workshop") -> Sequence[Step]:
        """Its steps in their order; the last one writes the masks. Nothing is done yet."""
        ...


def carry_out(recipe: Recipe, workshop: "Workshop") -> None:
    """Says what is due of a method, and does it; what was made with other settings is refused before anything is made.

    Raises:
        InputError: there are such products, and they must not be made anew; or tags are wrong.
    """
    steps = needed(recipe.steps(workshop))
    workshop.refuse_mixtures(steps)
    workshop.look_at_tags(steps)
    if is_first_process():
        say_what_is_due(steps)
    for step in steps:
        step.run()
    workshop.leave()


def needed(steps: Sequence[Step]) -> list[Step]:
    """All steps but those that only prepare a training that is there."""
    done = (place for place, step in enumerate(steps) if isinstance(step, Training) and step.file.is_there())
    last = max(done, default=0)
    return [step for place, step in enumerate(steps) if place >= last or isinstance(step, Training)]


def say_what_is_due(steps: Sequence[Step]) -> None:
    """Logs how long the steps will take, by trials of each; nothing where nothing is to be done."""
    due = [(step, amount, seconds_of(step)) for step in steps if (amount := step.amount())]
    if due:
        parts = ", ".join(f"{step.name}: {amount} {step.unit} of {one:.2g} s" for step, amount, one in due)
        log.info(f"about {duration(sum(amount * one for _, amount, one in due))} ({parts})")


def seconds_of(step: Step) -> float:
    """Seconds of one unit: the least of some trials, since the first ones start processes, compile and fill caches."""
    with _random_numbers_kept():
        return min(step.trial() for _ in range(TRIALS))


@contextmanager
def _random_numbers_kept() -> Iterator[None]:
    """What is drawn inside changes nothing of what is drawn behind it."""
    plain, arrays = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        yield
    random.setstate(plain)
    np.random.set_state(arrays)
