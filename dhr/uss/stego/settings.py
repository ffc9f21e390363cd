"""How STEGO's head is trained."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Term:
    """One of the three terms of STEGO's loss.

    Attributes:
        weight: in the sum.
        shift: similarity of tokens above which codes attract.
    """

    weight: float
    shift: float


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
    lr: float = 5e-4
    points: int = 11
    neighbours: int = 7
    derangements: int = 5
    epochs: int | None = None
    steps: int | None = 5000
