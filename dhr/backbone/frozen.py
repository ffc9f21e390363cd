"""Frozen parts of a backbone: its first stages, and the statistics of its batch norms."""

from collections.abc import Iterator, Sequence
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

TRIAL = (64, 64)  # of the image that shows which weights a map is computed from


class FreezableBackbone(nn.Module):
    """A backbone, parts of which stay in eval mode whatever is trained around them."""

    def __init__(self) -> None:
        super().__init__()
        # By name, so that copies, and norms that Lightning replaces by synchronised ones, are frozen as well.
        self._still: tuple[str, ...] = ()

    def freeze(self, stages: int, *, norms: bool) -> None:
        """Keeps the first stages, and the statistics of the batch norms, as they are.

        Args:
            stages: 0: none; k: nothing that C2..C(k+1) are computed from learns, and all of it stays in eval mode.
            norms: batch norms use and keep their running statistics; their scale and shift still learn.
        """
        if stages:
            training = self.training
            self.eval()  # the trial image must not change statistics, and no block may be skipped at random
            with torch.enable_grad():
                maps = self(torch.zeros(1, 3, *TRIAL, device=next(self.parameters()).device))
                needed = weights_of(self, maps[:stages])
            self.train(training)
            for parameter in needed:
                parameter.requires_grad_(False)
            self._still += tuple(_filled_by(self, {id(parameter) for parameter in needed}))
        if norms:
            self._still += tuple(name for name, module in self.named_modules() if isinstance(module, _BatchNorm))
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Frozen parts stay in eval mode."""
        super().train(mode)
        for name in self._still:
            self.get_submodule(name).eval()
        return self


def weights_of(module: nn.Module, maps: Sequence[Tensor]) -> list[nn.Parameter]:
    """The parameters of `module` that the maps are computed from; frozen ones are left out."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    total = torch.stack([features.sum() for features in maps]).sum()
    gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    return [parameter for parameter, gradient in zip(parameters, gradients, strict=True) if gradient is not None]


def _filled_by(module: nn.Module, needed: set[int], place: str = "") -> Iterator[str]:
    """Names of the outermost modules inside that have parameters, all of them among those needed."""
    for name, child in module.named_children():
        own = [id(parameter) for parameter in child.parameters()]
        if own and needed.issuperset(own):
            yield f"{place}{name}"
        elif own:
            yield from _filled_by(child, needed, f"{place}{name}.")
