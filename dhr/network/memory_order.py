"""The order of weights in memory, in which convolutions compute."""

from typing import TypeVar

import torch
from torch import nn

from dhr.core.errors import InputError

SOUND = 16  # input channels
Module = TypeVar("Module", bound=nn.Module)


def laid_out(network: Module, channels_last: bool | None = None) -> Module:
    """The network, its weights laid out for fast convolutions; maps take over the order, images need not have it.

    On a CPU the backward pass of a strided 1x1 convolution with channels last writes beyond its memory where it has 8
    input channels (torch 2.14): the heap is corrupted, and mostly the process dies. So such networks, all ResNets among
    them, have channels last only where that is asked for, and none where the channels are that few.

    Args:
        network: is changed in place. Its numbers stay, its answers change by rounding.
        channels_last: whether the channels of weights and maps come last; None: on a machine without a GPU, in networks
            without a strided 1x1 convolution. Those are faster so by a third (docs/results.md).

    Raises:
        InputError: channels last are asked for where they are not sound.
    """
    on_cpu = not torch.cuda.is_available()
    inputs = [
        layer.in_channels
        for layer in network.modules()
        if isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1) and layer.stride != (1, 1)
    ]
    if channels_last and on_cpu and min(inputs, default=SOUND) < SOUND:
        raise InputError(
            f"channels_last: true: without a GPU this network cannot have it: a strided 1x1 convolution of "
            f"{min(inputs)} channels, fewer than {SOUND}, would write beyond its memory; use channels_last=false"
        )
    last = on_cpu and not inputs if channels_last is None else channels_last
    return network.to(memory_format=torch.channels_last if last else torch.contiguous_format)
