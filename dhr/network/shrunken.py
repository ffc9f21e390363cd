"""Images made small for the network, and their masks made large again."""

import torch
from torch import Tensor

from dhr.core.cells import Size
from dhr.core.numerics import at_places, fast_argmax, resize

STRIP = 2**24  # numbers that are held at a time when a mask is made large


def shrunk(pixels: Tensor, longest: int | None) -> Tensor:
    """(3,H,W) uint8 with a longer side of at most `longest` pixels, resized as training resizes; None: as it is.

    >>> shrunk(torch.zeros(3, 40, 100, dtype=torch.uint8), 50).shape
    torch.Size([3, 20, 50])
    """
    sides = (pixels.shape[-2], pixels.shape[-1])
    if longest is None or max(sides) <= longest:
        return pixels
    from torchvision.transforms.v2 import InterpolationMode, functional  # seconds, which whole images need not

    size = [max(round(side * longest / max(sides)), 1) for side in sides]
    return functional.resize(pixels, size, InterpolationMode.BICUBIC, antialias=True)


def enlarged_argmax(maps: Tensor, size: Size) -> Tensor:
    """(M,h,w) -> (*size) indices of the largest map, each resized bilinearly; memory grows with the result alone.

    >>> enlarged_argmax(torch.tensor([[[4.0, 0.0]], [[0.0, 1.0]]]), (1, 8))
    tensor([[0, 0, 0, 0, 0, 1, 1, 1]])
    """
    (height, width), (pixels, _) = maps.shape[1:], size
    rows = (torch.arange(pixels) + 0.5) * (height / pixels) - 0.5
    found = []
    for strip in rows.split(max(STRIP // (len(maps) * size[1]), 1)):
        short = at_places(maps[None], strip, torch.arange(width).float())
        found.append(fast_argmax(resize(short, (len(strip), size[1]))[0], dim=0))
    return torch.cat(found)
