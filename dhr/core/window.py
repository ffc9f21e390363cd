"""Where a crop lies in its image."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import default_collate


@dataclass(frozen=True)
class Window:
    """Where a crop lies in its image, so that image, mask and feature map are cut alike.

    The image is resized to `scaled` (height, width), flipped left to right if `flip`, and the box `source`
    (top, left, height, width) of the result is put at `place` (top, left) of an otherwise empty `canvas`.

    >>> window = Window(scaled=(1, 4), flip=True, source=(0, 1, 1, 3), place=(0, 0), canvas=(1, 5))
    >>> window.paste(torch.tensor([[1, 2, 3, 4]]), fill=0).tolist()  # flipped, then cut
    [[3, 2, 1, 0, 0]]
    >>> window.paste_labels(torch.tensor([[5, 9]], dtype=torch.uint8), fill=255).tolist()  # resized to 4 as well
    [[9, 5, 5, 255, 255]]
    >>> window.valid().tolist(), window.shows_all
    ([[True, True, True, False, False]], False)
    """

    scaled: tuple[int, int]
    flip: bool
    source: tuple[int, int, int, int]
    place: tuple[int, int]
    canvas: tuple[int, int]

    @classmethod
    def whole(cls, size: tuple[int, int]) -> Self:
        """The window that shows the whole image as it is."""
        return cls(scaled=size, flip=False, source=(0, 0, *size), place=(0, 0), canvas=size)

    @property
    def box(self) -> tuple[slice, slice]:
        """The part of the canvas that shows image, as (rows, columns)."""
        top, left = self.place
        return slice(top, top + self.source[2]), slice(left, left + self.source[3])

    @property
    def shows_all(self) -> bool:
        """Whether the canvas shows the whole image."""
        return self.source == (0, 0, *self.scaled)

    def valid(self) -> Tensor:
        """(H,W) bool, true where the canvas shows image."""
        return self.valid_cells(self.canvas)

    def paste(self, scaled: Tensor, fill: float) -> Tensor:
        """The canvas of a tensor (..., scaled height, scaled width) that is resized already; `fill` elsewhere."""
        top, left, height, width = self.source
        turned = scaled.flip(-1) if self.flip else scaled
        canvas = scaled.new_full((*scaled.shape[:-2], *self.canvas), fill)
        rows, columns = self.box
        canvas[..., rows, columns] = turned[..., top : top + height, left : left + width]
        return canvas

    def paste_labels(self, labels: Tensor, fill: int) -> Tensor:
        """The canvas of a mask (H,W) uint8 of the image as stored: the label under the centre of each pixel.

        The same as a nearest resize to `scaled` and `paste`, but only what is shown is looked up.
        """
        top, left, height, width = self.source
        rows, columns = np.arange(top, top + height), np.arange(left, left + width)
        if self.flip:
            columns = self.scaled[1] - 1 - columns
        rows, columns = (
            (2 * places + 1) * length // (2 * scaled)
            for places, length, scaled in zip((rows, columns), labels.shape, self.scaled, strict=True)
        )
        canvas = np.full(self.canvas, fill, np.uint8)
        canvas[self.box] = labels.numpy()[rows].take(columns, 1)
        return torch.from_numpy(canvas)

    def on_map(self, features: Tensor, grid: tuple[int, int]) -> "StoredFeatures":
        """Where the cells of a `grid` (h,w), laid over the canvas, lie on a whole-image map (D,h0,w0).

        Coordinates refer to pixel centres, so the result is exact whatever the resolution of the stored map.
        """
        places = []
        for axis, length in enumerate(features.shape[1:]):
            centres = (torch.arange(grid[axis]) + 0.5) * (self.canvas[axis] / grid[axis])
            centres = centres - self.place[axis] + self.source[axis]
            if axis == 1 and self.flip:
                centres = self.scaled[1] - centres
            places.append((centres / self.scaled[axis] * length - 0.5).clamp(0, length - 1))
        return StoredFeatures(features, *places)

    def valid_cells(self, grid: tuple[int, int]) -> Tensor:
        """(h,w) bool, true where the centre of a cell lies on image."""
        return covered(boxes_of([self]), self.canvas, grid)[0]


def boxes_of(windows: Iterable[Window]) -> Tensor:
    """(B,4) int64: top, left, height and width of the part of each canvas that shows image."""
    return torch.tensor([(*window.place, *window.source[2:]) for window in windows])


def covered(boxes: Tensor, canvas: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """(B,h,w) bool, true where the centre of a cell of `grid` (h,w), laid over the canvas, lies in the box (B,4).

    >>> covered(torch.tensor([[0, 1, 4, 5]]), canvas=(4, 8), grid=(1, 4)).tolist()  # columns 1 to 5, cells of two
    [[[True, True, True, False]]]
    """
    places = []
    for axis in (0, 1):
        centres = (torch.arange(grid[axis], device=boxes.device) + 0.5) * (canvas[axis] / grid[axis])
        start, length = boxes[:, axis, None], boxes[:, axis + 2, None]
        places.append((centres >= start) & (centres < start + length))
    return places[0][:, :, None] & places[1][:, None, :]


@dataclass(frozen=True)
class StoredFeatures:
    """USS maps of whole images as they are stored, and where the cells of their crops lie on them.

    Maps of one image alone have no axis B.

    Attributes:
        values: (B,D,h0,w0), 0 where a map is smaller than the largest one.
        rows: (B,h) float, in cells of the map: from 0, the centre of its first cell, to the centre of its last one.
        columns: (B,w) likewise.

    >>> stored = torch.tensor([[[0.0, 10.0, 20.0, 30.0]]])  # one channel of a whole image
    >>> window = Window(scaled=(2, 8), flip=False, source=(0, 4, 2, 4), place=(0, 0), canvas=(2, 4))  # its right half
    >>> StoredFeatures.stack([window.on_map(stored, (1, 4))]).sampled()
    tensor([[[[17.5000, 22.5000, 27.5000, 30.0000]]]])
    """

    values: Tensor
    rows: Tensor
    columns: Tensor

    @classmethod
    def stack(cls, maps: list[Self]) -> Self:
        """One batch of maps of one image each; the maps may differ in size, their grids may not."""
        height, width = (max(each.values.shape[axis] for each in maps) for axis in (1, 2))
        room = [(0, width - each.values.shape[2], 0, height - each.values.shape[1]) for each in maps]
        return cls(
            values=default_collate([functional.pad(each.values, over) for each, over in zip(maps, room, strict=True)]),
            rows=default_collate([each.rows for each in maps]),
            columns=default_collate([each.columns for each in maps]),
        )

    def sampled(self) -> Tensor:
        """Features of the crops' cells, (B,D,h,w) float32, bilinear between the four cells around each place."""
        high, wide = (max(length - 1, 1) / 2 for length in self.values.shape[2:])
        y, x = self.rows[:, :, None] / high - 1, self.columns[:, None, :] / wide - 1
        places = torch.stack(torch.broadcast_tensors(x, y), -1)
        return functional.grid_sample(self.values.float(), places.float(), align_corners=True)

    def changed(self, change: Callable[[Tensor], Tensor]) -> Self:
        """The same maps with `change` applied to every tensor."""
        return replace(self, values=change(self.values), rows=change(self.rows), columns=change(self.columns))
