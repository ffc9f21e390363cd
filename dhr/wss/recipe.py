"""What a WSS method consists of: steps, planned before any of them is done, and done one after the other."""

import logging
import timeit
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import torch

from dhr.core.words import duration

if TYPE_CHECKING:
    from dhr.wss.workshop import Workshop

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

    def trial(self) -> None:
        """Does one unit of the work and keeps nothing of it, so that the time of all of it can be said."""
        ...

    def run(self) -> None:
        """Does what is not done yet."""
        ...


class Recipe(Protocol):
    """The settings of a method, from which its steps follow."""

    def steps(self, workshop: "Workshop") -> Sequence[Step]:
        """Its steps in their order; the last one writes the masks. Nothing is done yet."""
        ...


def say_what_is_due(steps: Sequence[Step]) -> None:
    """Logs how long the steps will take, by a trial of each; nothing where nothing is to be done."""
    due = [(step, amount) for step in steps if (amount := step.amount())]
    each = [(step, amount, seconds_of(step)) for step, amount in due]
    if each:
        parts = ", ".join(f"{step.name}: {amount} {step.unit} of {one:.2g} s" for step, amount, one in each)
        log.info(f"about {duration(sum(amount * one for _, amount, one in each))} ({parts})")


def seconds_of(step: Step) -> float:
    """Seconds of one unit: the least of some trials, since the first ones start processes, compile and fill caches."""
    with torch.random.fork_rng():  # what is drawn here must not change what is learnt
        return min(timeit.repeat(step.trial, number=1, repeat=TRIALS))
