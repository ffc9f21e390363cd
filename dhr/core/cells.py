"""Where the cells of a network's maps lie in its image; this depends on how the network was trained."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from dhr.core.numerics import at_places, resize

Size = tuple[int, int]


class Cells(Protocol):
    """Resizes images and maps so that maps of several scales are added at the same places of the image."""

    def view(self, image: Tensor, size: Size) -> Tensor:
        """The image (B,3,H,W) resized to (B,3,*size)."""
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

    def centred(self, maps: Tensor, size: Size, *, stride: int) -> Tensor:
        """(B,K,h,w) on the cells of an image of this size -> (B,K,h,w) on those of `CentredCells`."""
        ...


@dataclass(frozen=True)
class CentredCells:
    """Cell j shows the pixels from stride * j to stride * (j + 1), as networks learn their labels in this code.

    Exact at any size of the image, also where the last cell hangs over its edge.

    >>> maps = torch.tensor([[[[0.0, 4.0]]]])  # two cells of 4 pixels for an image of 7
    >>> CentredCells().on_image(maps, (1, 7), stride=4).tolist()
    [[[[0.0, 0.0, 0.5, 1.5, 2.5, 3.5, 4.0]]]]
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

    def centred(self, maps: Tensor, size: Size, *, stride: int) -> Tensor:
        """See `Cells`."""
        return maps


@dataclass(frozen=True)
class CornerCells:
    """The outermost cells lie on the outermost pixels, as in the released code, whose results this reproduces.

    >>> CornerCells().on_image(torch.tensor([[[[0.0, 6.0]]]]), (1, 7), stride=4).tolist()
    [[[[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]]]]
    """

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

    def centred(self, maps: Tensor, size: Size, *, stride: int) -> Tensor:
        """See `Cells`."""
        rows, columns = (
            ((torch.arange(cells, device=maps.device) + 0.5) * stride - 0.5) * ((cells - 1) / max(length - 1, 1))
            for cells, length in zip(maps.shape[-2:], size, strict=True)
        )
        return at_places(maps, rows, columns)


def grid_of(size: Size, stride: int) -> Size:
    """How many cells (h,w) have a pixel of an image of this size (height, width).

    >>> grid_of((16, 17), 8)
    (2, 3)
    """
    return -(-size[0] // stride), -(-size[1] // stride)


def patch_grid(size: tuple[int, int], *, scale: float, patch: int) -> tuple[int, int]:
    """Cells (h,w) of an image of `size` (height, width) that is resized by `scale` and up to multiples of `patch`.

    >>> patch_grid((375, 500), scale=0.5, patch=16), patch_grid((3, 3), scale=0.1, patch=16)
    ((12, 16), (1, 1))
    """
    height, width = (-(-round(side * scale) // patch) for side in size)
    return max(height, 1), max(width, 1)
