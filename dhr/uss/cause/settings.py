"""How long and how CAUSE's clusterbook and head are trained."""

from dataclasses import dataclass


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
