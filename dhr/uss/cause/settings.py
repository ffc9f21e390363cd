"""How long and how CAUSE's clusterbook and head are trained."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Le

from dhr.core.ranges import Count, Decay, Rate, Steps, WeightDecay, Width


@dataclass(frozen=True)
class ClusterbookSettings:
    """Stage 1 of CAUSE.

    Attributes:
        codes: number of concepts.
        lr: of Adam, without decay.
        epochs: over all crops; None counts steps alone.
        steps: at most so many; None counts epochs alone.
    """

    codes: Count = 2048
    lr: Rate = 1e-3
    epochs: Count | None = 1
    steps: Steps | None = None


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

    lr: Rate = 1e-3
    weight_decay: WeightDecay = 1e-4
    clip: Annotated[float, Gt(0), Le(1_000_000)] | None = 1.0
    positive: Annotated[float, Ge(-1), Le(1)] = 0.3
    negative: Annotated[float, Ge(-1), Le(1)] = 0.1
    temperature: Annotated[float, Ge(0.001), Le(1000)] = 0.07
    ema_decay: Decay = 0.99
    bank: Annotated[int, Ge(0), Le(100_000)] = 100
    projection: Width = 2048
    epochs: Count | None = 2
    steps: Steps | None = None
