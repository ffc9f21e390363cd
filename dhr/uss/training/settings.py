"""Numbers of the training stages, as they stand in the recipes."""

from dataclasses import dataclass
from typing import Literal

from dhr.core.ranges import Count, Rate, Steps


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
    clusters: Count | None = None
    lr: Rate = 1e-3
    halving: Count | None = 2
    epochs: Count | None = 5
    steps: Steps | None = None
