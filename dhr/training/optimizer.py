"""Optimizers with their schedule, each a small recipe that builds both."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR, PolynomialLR

from dhr.core.ranges import Decay, Power, Rate, UnitInterval, WeightDecay


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

    backbone_lr: Rate = 1e-3
    head_lr: Rate = 1e-2
    momentum: Decay = 0.9
    weight_decay: WeightDecay = 4e-5
    power: Power = 0.9
    ema_decay: Decay = 0.999

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

    backbone_lr: Rate = 3e-3
    head_lr: Rate = 3e-3
    weight_decay: WeightDecay = 1e-2
    warmup: UnitInterval = 0.3
    ema_decay: Decay = 0.9

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


@dataclass(frozen=True)
class PolyAdam:
    """AdamW with the poly schedule and without warm-up, as Mask2Former is published with.

    Attributes:
        backbone_lr: first learning rate of the backbone.
        head_lr: first learning rate of decoder and classifier.
        weight_decay: on every parameter but those of norms, and embeddings of positions, levels and queries.
        power: of the schedule, (1 - step / steps) ** power.
        ema_decay: of the averaged weights, per step; 0: the weights themselves are kept and used, as published.
    """

    backbone_lr: Rate = 1e-5
    head_lr: Rate = 1e-4
    weight_decay: WeightDecay = 0.05
    power: Power = 0.9
    ema_decay: Decay = 0.0

    def build(self, backbone: nn.Module, heads: Iterable[nn.Module], steps: int) -> tuple[Optimizer, LRScheduler]:
        """See `OptimizerRecipe`; up to four groups: backbone and heads, each without and with decay, in this order."""
        groups: list[dict[str, object]] = []
        for part, rate in ((backbone, self.backbone_lr), (nn.ModuleList(heads), self.head_lr)):
            kept = undecayed(part)
            plain = [parameter for parameter in part.parameters() if parameter not in kept]
            groups += [
                {"params": parameters, "lr": rate, "weight_decay": decay}
                for parameters, decay in ((list(kept), 0.0), (plain, self.weight_decay))
                if parameters
            ]
        optimizer = AdamW(groups)
        return optimizer, PolynomialLR(optimizer, total_iters=steps, power=self.power)


NORMS = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._NormBase)  # the last one of all batch and instance norms
EMBEDDINGS = ("relative_position_bias_table", "absolute_pos_embed", "pos_embed", "cls_token", "level_embed")


def undecayed(part: nn.Module) -> dict[nn.Parameter, None]:
    """Parameters of norms and embeddings, each once, in their order: weight decay makes no sense for them."""
    parameters: dict[nn.Parameter, None] = {}
    for module in part.modules():
        whole = isinstance(module, (*NORMS, nn.Embedding))
        for name, parameter in module.named_parameters(recurse=False):
            if whole or name in EMBEDDINGS:
                parameters[parameter] = None
    return parameters


def parameter_groups(
    backbone: nn.Module, heads: Iterable[nn.Module], *, backbone_lr: float, head_lr: float
) -> list[dict[str, object]]:
    """Two groups: the backbone's parameters and those of the heads."""
    return [
        {"params": list(backbone.parameters()), "lr": backbone_lr},
        {"params": [parameter for head in heads for parameter in head.parameters()], "lr": head_lr},
    ]
