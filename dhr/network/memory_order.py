"""The order of weights in memory, in which convolutions compute."""

from typing import TypeVar

import torch
from torch import nn

Module = TypeVar("Module", bound=nn.Module)


def laid_out(network: Module, channels_last: bool | None = None) -> Module:
    """The network, its weights laid out for fast convolutions; maps take over the order, images need not have it.

    Args:
        network: is changed in place. Its numbers stay, its answers change by rounding.
        channels_last: whether the channels of weights and maps come last; None: on a machine without a GPU. No network
            was slower so on CPU cores, and small ones were faster by a third (docs/results.md).
    """
    last = not torch.cuda.is_available() if channels_last is None else channels_last
    return network.to(memory_format=torch.channels_last if last else torch.contiguous_format)
