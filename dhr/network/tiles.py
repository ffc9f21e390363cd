"""Large images in overlapping tiles, so that the memory which a prediction needs does not grow with the image.

The network looks at one tile after the other. Its probabilities are added up on the cells of the whole image, with
weights that fall towards the inner edges of a tile, so that no seam is left; pixels are made of cells tile by tile.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from dhr.core.cells import CentredCells, Size, grid_of
from dhr.core.colour import normalise
from dhr.network.multi_scale import multi_scale_cells
from dhr.network.segmentation import SegmentationNetwork

LARGEST = 2048 * 1024  # pixels of an image that is seen whole: at scale 2 with its mirror image about 6 GB, chosen


@dataclass(frozen=True)
class Span:
    """A tile along one axis, in pixels: what it sees, what it keeps, and where a neighbour overlaps it."""

    start: int
    stop: int
    first: int
    last: int
    fades_in: int
    fades_out: int

    @property
    def seen(self) -> slice:
        """Pixels of the image that the tile sees."""
        return slice(self.start, self.stop)

    @property
    def kept(self) -> slice:
        """Pixels of the image that the tile decides; every pixel is decided once."""
        return slice(self.first, self.last)

    @property
    def inner(self) -> slice:
        """The kept pixels, counted from the first one that the tile sees."""
        return slice(self.first - self.start, self.last - self.start)

    def weights(self, cells: int, stride: int) -> Tensor:
        """(cells) weights in (0,1]: they rise and fall in a line where a neighbour overlaps, and are 1 elsewhere.

        >>> Span(start=0, stop=24, first=0, last=20, fades_in=0, fades_out=8).weights(6, stride=4)
        tensor([1.0000, 1.0000, 1.0000, 1.0000, 0.7500, 0.2500])
        """
        places = torch.arange(cells) * stride + stride / 2
        rising = places / self.fades_in if self.fades_in else torch.ones(cells)
        falling = (self.stop - self.start - places) / self.fades_out if self.fades_out else torch.ones(cells)
        return torch.minimum(rising, falling).clamp(torch.finfo(torch.float32).eps, 1)


@dataclass(frozen=True)
class Tile:
    """A part of an image: its rows and columns."""

    rows: Span
    columns: Span

    def on_pixels(self, cells: Tensor, stride: int) -> Tensor:
        """(K,h,w) on the cells of the whole image -> (K,H,W) on the pixels that the tile sees."""
        around = [
            slice(max(span.start // stride - 1, 0), -(-span.stop // stride) + 1) for span in (self.rows, self.columns)
        ]
        part = cells[:, around[0], around[1]]
        size = (part.shape[-2] * stride, part.shape[-1] * stride)
        top, left = (place.start * stride for place in around)
        rows, columns = (slice(span.start - begin, span.stop - begin) for span, begin in
                         ((self.rows, top), (self.columns, left)))  # fmt: skip
        return CentredCells().on_image(part[None], size, stride=stride)[0, :, rows, columns]


@dataclass(frozen=True)
class Tiles:
    """How images are cut: beyond `largest` pixels, into tiles of at most `side` that overlap by `overlap` pixels.

    `side` and `overlap` are multiples of 64, so that tiles begin at a cell of every network and overlaps have a middle.
    """

    largest: int = LARGEST
    side: int = 1024
    overlap: int = 256

    def of(self, size: Size) -> list[Tile]:
        """The tiles of an image of this size; none for one that is seen whole."""
        if size[0] * size[1] <= self.largest:
            return []
        return [Tile(*spans) for spans in product(*(self.spans(length) for length in size))]

    def spans(self, length: int) -> list[Span]:
        """The tiles along an axis.

        >>> [(span.seen, span.kept) for span in Tiles(side=192, overlap=64).spans(320)]
        [(slice(0, 192, None), slice(0, 160, None)), (slice(128, 320, None), slice(160, 320, None))]
        """
        starts = range(0, max(length - self.overlap, 1), self.side - self.overlap)
        spans = []
        for start in starts:
            before, after = (self.overlap if start else 0), (self.overlap if start != starts[-1] else 0)
            stop = min(start + self.side, length)
            spans.append(Span(start, stop, start + before // 2, stop - after // 2, before, after))
        return spans


def tiled_cells(
    network: SegmentationNetwork,
    pixels: Tensor,
    tiles: Sequence[Tile],
    *,
    scales: tuple[float, ...],
    flip: bool,
    device: torch.device,
) -> Tensor:
    """Probabilities of an image from those of its tiles, on the cells of scale 1 as in training.

    Args:
        network: in eval mode, on `device`.
        pixels: (3,H,W) uint8.
        tiles: of the image, at least one.
        scales: factors on the size of a tile.
        flip: whether mirrored tiles are averaged in.
        device: where the network runs.

    Returns:
        (K,h,w) on the CPU, summing to 1.
    """
    stride = network.decoder.stride
    grid = grid_of((pixels.shape[-2], pixels.shape[-1]), stride)
    total, mass = torch.zeros(0), torch.zeros(grid)
    for tile in tiles:
        part = pixels[:, tile.rows.seen, tile.columns.seen]
        seen = multi_scale_cells(network, normalise(part.to(device)), scales=scales, flip=flip)
        seen = network.cells.centred(seen[None], (part.shape[-2], part.shape[-1]), stride=stride)[0].cpu()
        height, width = seen.shape[-2:]
        weight = tile.rows.weights(height, stride)[:, None] * tile.columns.weights(width, stride)
        top, left = tile.rows.start // stride, tile.columns.start // stride
        if not len(total):
            total = seen.new_zeros(len(seen), *grid)
        total[:, top : top + height, left : left + width] += seen * weight
        mass[top : top + height, left : left + width] += weight
    return total / mass


def on_all_pixels(cells: Tensor, tiles: Iterable[Tile], size: Size, *, stride: int) -> Tensor:
    """(K,h,w) on the cells of an image -> (K,*size) half numbers, tile by tile."""
    whole = torch.empty(len(cells), *size, dtype=torch.float16)
    for tile in tiles:
        made = tile.on_pixels(cells, stride)[:, tile.rows.inner, tile.columns.inner]
        whole[:, tile.rows.kept, tile.columns.kept] = made.half()
    return whole
