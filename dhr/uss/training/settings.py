"""Numbers of the training stages, as they stand in the recipes."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ClusterbookSettings:
    """Stage 1 of CAUSE.

    Attributes:
        codes: number of concepts.
        lr: of Adam, without decay.
        epochs: over all crops; None counts steps alone.
        steps: at most so many; None counts epochs alone.
    """

    codes: int = 2048
    lr: float = 1e-3
    epochs: int | None = 1
    steps: int | None = None


@dataclass(frozen=True)
class HeadSettings:
    """Stage 2 of CAUSE.

    Attributes:
        lr: of Adam.
        weight_decay: of Adam.
        clip: largest norm of the gradient, None for any.
        positive: cosine of two codes above which they attract.
        negative: cosine of two codes below which they repel.
        temperature: that cosines of features are divided by.
        ema_decay: of the averaged head, per step.
        bank: vectors that are kept per code.
        projection: width in which features are compared.
        epochs: over all crops; None counts steps alone.
        steps: at most so many; None counts epochs alone.
    """

    lr: float = 1e-3
    weight_decay: float = 1e-4
    clip: float | None = 1.0
    positive: float = 0.3
    negative: float = 0.1
    temperature: float = 0.07
    ema_decay: float = 0.99
    bank: int = 100
    projection: int = 2048
    epochs: int | None = 2
    steps: int | None = None


@dataclass(frozen=True)
class ProbeSettings:
    """Cluster probes on the features of the finished head.

    Attributes:
        objective: "modularity" as CAUSE probes, "nearest" as STEGO does.
        classes: "all", or "groups" for the super-categories of the classes: what the clusters are compared with.
        clusters: number of probes, None for that of the classes.
        lr: of Adam.
        halving: epochs after which the learning rate is halved, again and again; None never.
        epochs: over all crops; None counts steps alone.
        steps: at most so many; None counts epochs alone.
    """

    objective: Literal["modularity", "nearest"] = "modularity"
    classes: Literal["all", "groups"] = "all"
    clusters: int | None = None
    lr: float = 1e-3
    halving: int | None = 2
    epochs: int | None = 5
    steps: int | None = None


@dataclass(frozen=True)
class Term:
    """One of the three terms of STEGO's loss.

    Attributes:
        weight: in the sum.
        shift: likeness of tokens above which codes attract.
    """

    weight: float
    shift: float


@dataclass(frozen=True)
class StegoSettings:
    """Training of STEGO's head.

    Attributes:
        own: an image with itself.
        neighbour: an image with one that looks like it.
        stranger: an image with another one of the batch.
        lr: of Adam.
        points: squared, the points of an image that are compared.
        neighbours: how many count as looking alike.
        derangements: how many strangers each image is compared with.
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
