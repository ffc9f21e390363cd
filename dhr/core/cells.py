"""Where the cells of a network's maps lie in its image: a matter of how the network was trained."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from dhr.core.numerics import at_places, resize

Size = tuple[int, int]


class Cells(Protocol):
    """Resizes images and maps so that cells of several scales meet where they belong."""

    def view(self, image: Tensor, size: Size) -> Tensor:
        """(B,3,H,W) at another size."""
        ...

    def on_grid(self, maps: Tensor, *, view: Size, image: Size, stride: int) -> Tensor:
        """Maps of a view on the cells that the image has at scale 1.

        Args:
            maps: (B,K,hv,wv) of the view and, where B is 2, of its mirror image.
            view: size of the view in pixels.
            image: size of the image in pixels.
            stride: pixels per cell.

        Returns:
            (B,K,h,w), the mirror image turned back; h and w are the numbers of cells that have a pixel.
        """
        ...

    def on_image(self, maps: Tensor, size: Size, *, stride: int) -> Tensor:
        """(B,K,h,w) on the cells of the image -> (B,K,*size)."""
        ...


@dataclass(frozen=True)
class CentredCells:
    """Cell j shows the pixels from stride * j to stride * (j + 1), as labels are learnt in this code.

    Exact at any size of the image, also where the last cell hangs over its edge.
    """

    def view(self, image: Tensor, size: Size) -> Tensor:
        """See `Cells`."""
        return resize(image, size)

    def on_grid(self, maps: Tensor, *, view: Size, image: Size, stride: int) -> Tensor:
        """See `Cells`."""
        rows, columns = (
            (torch.arange(cells, device=maps.device) + 0.5) * (seen / length) - 0.5
            for cells, seen, length in zip(grid_of(image, stride), view, image, strict=True)
        )
        mirrored = view[1] / stride - 1 - columns
        turned = zip(maps.split(1), (columns, mirrored), strict=False)
        return torch.cat([at_places(each, rows, places) for each, places in turned])

    def on_image(self, maps: Tensor, size: Size, *, stride: int) -> Tensor:
        """See `Cells`."""
        wide = resize(maps, (maps.shape[-2] * stride, maps.shape[-1] * stride))
        return wide[..., : size[0], : size[1]]


@dataclass(frozen=True)
class CornerCells:
    """The outermost cells lie on the outermost pixels: so the released networks are asked, and so they are equal."""

    def view(self, image: Tensor, size: Size) -> Tensor:
        """See `Cells`."""
        return resize(image, size, align_corners=True)

    def on_grid(self, maps: Tensor, *, view: Size, image: Size, stride: int) -> Tensor:
        """See `Cells`."""
        maps = resize(maps, grid_of(image, stride), align_corners=True)
        return torch.cat([maps[:1], maps[1:].flip(-1)])

    def on_image(self, maps: Tensor, size: Size, *, stride: int) -> Tensor:
        """See `Cells`."""
        return resize(maps, size, align_corners=True)


def grid_of(size: Size, stride: int) -> Size:
    """How many cells have a pixel of an image of this size."""
    return -(-size[0] // stride), -(-size[1] // stride)


def patch_grid(size: tuple[int, int], *, scale: float, patch: int) -> tuple[int, int]:
    """Cells (h,w) of an image of `size` (height, width) that is resized by `scale` and up to multiples of `patch`."""
    height, width = (-(-round(side * scale) // patch) for side in size)
    return max(height, 1), max(width, 1)
