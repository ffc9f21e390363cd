"""An optimizer for vision transformers that were trained before: the deeper a block lies, the faster it learns."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Le
from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from dhr.core.errors import InputError
from dhr.core.ranges import Decay, Epoch, Power, Rate, WeightDecay


@dataclass(frozen=True)
class LayerDecayAdam:
    """AdamW with a learning rate per block and a warm-up in two stages, as EoMT is published with.

    The heads warm up while the backbone rests, then the backbone does; after its warm-up each falls to 0 by the poly
    schedule, (1 - share of the remaining steps) ** power. In a run that ends in a warm-up, nothing falls.

    Attributes:
        lr: highest learning rate of decoder, classifier and the last block.
        block_decay: of the learning rate, from a block to the one before it; the embedding learns as the first block.
        full_blocks: the last ones, which learn at `lr` whatever the decay.
        weight_decay: on every parameter.
        head_warmup: steps in which the learning rate of the heads rises.
        backbone_warmup: steps after these in which that of the backbone rises.
        power: of the schedule.
        ema_decay: of the averaged weights, per step; 0: the weights themselves are kept and used, as published.
    """

    lr: Rate = 1e-4
    block_decay: Annotated[float, Gt(0), Le(1)] = 0.8
    full_blocks: Annotated[int, Ge(0), Le(256)] = 0
    weight_decay: WeightDecay = 0.05
    head_warmup: Epoch = 500
    backbone_warmup: Epoch = 1000
    power: Power = 0.9
    ema_decay: Decay = 0.0

    def build(self, backbone: nn.Module, heads: Iterable[nn.Module], steps: int) -> tuple[Optimizer, LRScheduler]:
        """See `OptimizerRecipe`; a group for every block of the backbone, the first one first, and one for the heads.

        Raises:
            InputError: the backbone has no blocks.
        """
        blocks_of: Callable[[], dict[nn.Parameter, int]] | None = getattr(backbone, "blocks_of", None)
        if blocks_of is None:
            raise InputError(
                f"optimizer: {type(backbone).__name__} has no blocks whose learning rates could differ; use a vision "
                "transformer such as backbone=dinov2_large, or optimizer=mask2former"
            )
        blocks = blocks_of()
        last = max(blocks.values())
        groups: list[dict[str, object]] = []
        for block in range(last + 1):
            behind = 0 if block > last - self.full_blocks else last - block
            parameters = [parameter for parameter, own in blocks.items() if own == block]
            groups.append({"params": parameters, "lr": self.lr * self.block_decay**behind})
        body = rise_and_fall(self.head_warmup, self.backbone_warmup, steps, self.power)
        head = rise_and_fall(0, self.head_warmup, steps, self.power)
        shares = [*[body] * len(groups), head]
        groups.append({"params": [parameter for each in heads for parameter in each.parameters()], "lr": self.lr})
        optimizer = AdamW(groups, weight_decay=self.weight_decay)
        return optimizer, LambdaLR(optimizer, shares)


def rise_and_fall(rest: int, warmup: int, steps: int, power: float) -> Callable[[int], float]:
    """From a step to the share of the highest learning rate: 0, then a straight rise, then a polynomial fall to 0.

    >>> [round(rise_and_fall(2, 2, 8, 1.0)(step), 2) for step in range(9)]
    [0.0, 0.0, 0.0, 0.5, 1.0, 0.75, 0.5, 0.25, 0.0]
    """

    def share(step: int) -> float:
        if step < rest + warmup:
            return max(step - rest, 0) / warmup
        left: int = max(steps - rest - warmup, 1)
        return float((1 - min((step - rest - warmup) / left, 1.0)) ** power)

    return share
