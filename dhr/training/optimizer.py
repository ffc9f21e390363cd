"""Optimizers with their schedule, each a small recipe that builds both."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR, PolynomialLR


class OptimizerRecipe(Protocol):
    """Builds the optimizer and its schedule; `ema_decay` is the decay of the averaged weights per step."""

    ema_decay: float

    def build(self, backbone: nn.Module, heads: Iterable[nn.Module], steps: int) -> tuple[Optimizer, LRScheduler]:
        """Optimizer over the two parameter groups and a schedule of `steps` iterations."""
        ...


@dataclass(frozen=True)
class Sgd:
    """SGD with momentum and the poly schedule, (1 - step / steps) ** power, as released.

    Attributes:
        backbone_lr: first learning rate of the backbone.
        head_lr: first learning rate of decoder and classifier.
        momentum: in [0,1).
        weight_decay: on every parameter.
        power: of the schedule.
        ema_decay: of the averaged weights, per step.
    """

    backbone_lr: float = 1e-3
    head_lr: float = 1e-2
    momentum: float = 0.9
    weight_decay: float = 4e-5
    power: float = 0.9
    ema_decay: float = 0.999

    def build(self, backbone: nn.Module, heads: Iterable[nn.Module], steps: int) -> tuple[Optimizer, LRScheduler]:
        """See `OptimizerRecipe`."""
        optimizer = SGD(
            parameter_groups(backbone, heads, backbone_lr=self.backbone_lr, head_lr=self.head_lr),
            momentum=self.momentum,
            weight_decay=self.weight_decay,
        )
        return optimizer, PolynomialLR(optimizer, total_iters=steps, power=self.power)


@dataclass(frozen=True)
class AdamWithDecay:
    """AdamW on one learning-rate cycle, for networks that start from random weights and have some hundred steps.

    Attributes:
        backbone_lr: highest learning rate of the backbone.
        head_lr: highest learning rate of decoder and classifier.
        weight_decay: on every parameter.
        warmup: share of the steps in which the learning rate rises; it falls on a cosine after that.
        ema_decay: of the averaged weights, per step.
    """

    backbone_lr: float = 3e-3
    head_lr: float = 3e-3
    weight_decay: float = 1e-2
    warmup: float = 0.3
    ema_decay: float = 0.9

    def build(self, backbone: nn.Module, heads: Iterable[nn.Module], steps: int) -> tuple[Optimizer, LRScheduler]:
        """See `OptimizerRecipe`."""
        groups = parameter_groups(backbone, heads, backbone_lr=self.backbone_lr, head_lr=self.head_lr)
        optimizer = AdamW(groups, weight_decay=self.weight_decay)
        # One step more than there are: the scheduler is stepped after the last one, too.
        cycle = OneCycleLR(
            optimizer,
            [self.backbone_lr, self.head_lr],
            total_steps=steps + 1,
            pct_start=self.warmup,
            cycle_momentum=False,
        )
        return optimizer, cycle


def parameter_groups(
    backbone: nn.Module, heads: Iterable[nn.Module], *, backbone_lr: float, head_lr: float
) -> list[dict[str, object]]:
    """Two groups: the backbone's parameters and those of the heads."""
    return [
        {"params": list(backbone.parameters()), "lr": backbone_lr},
        {"params": [parameter for head in heads for parameter in head.parameters()], "lr": head_lr},
    ]
