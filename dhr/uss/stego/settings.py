"""How STEGO's head is trained."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le

from dhr.core.ranges import Count, Rate, Steps, Weight


@dataclass(frozen=True)
class Term:
    """One of the three terms of STEGO's loss.

    Attributes:
        weight: in the sum.
        shift: similarity of tokens above which codes attract.
    """

    weight: Weight
    shift: Annotated[float, Ge(-1), Le(1)]


@dataclass(frozen=True)
class StegoSettings:
    """Training of STEGO's head.

    Attributes:
        own: an image with itself.
        neighbour: an image with one of its nearest neighbours.
        stranger: an image with another one of the batch.
        lr: of Adam.
        points: points x points places of an image are compared.
        neighbours: number of nearest neighbours of an image.
        derangements: number of strangers each image is compared with.
        epochs: over all crops; None counts steps alone.
        steps: at most so many; None counts epochs alone.
    """

    own: Term
    neighbour: Term
    stranger: Term
    lr: Rate = 5e-4
    points: Count = 11
    neighbours: Annotated[int, Ge(1), Le(10_000)] = 7
    derangements: Annotated[int, Ge(1), Le(10_000)] = 5
    epochs: Count | None = None
    steps: Steps | None = 5000
