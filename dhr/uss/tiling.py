"""Features of batches that do not fit into memory: image by image, in tiles, or on the CPU; none is left out."""

import copy
from collections.abc import Callable, Iterator
from itertools import pairwise, product

import torch
from torch import Tensor, nn

from dhr.runtime.memory import first_that_fits

MARGIN = 8  # cells that a tile sees beyond those it is asked for
PARTS = (2, 3, 4, 6, 8)  # tiles along each side, in the order in which they are tried


class MemoryFallback:
    """An `Extractor` that works on smaller pieces where memory runs out, and then on the CPU.

    A batch is cut into single images, and an image into overlapping tiles, of which the inner cells are kept. Single
    images give what the batch gives. Tiles are exact where a cell depends on nothing farther than MARGIN cells, as
    for `colour`; a transformer attends to the tile instead of the whole image, so its features differ a little, and
    `notes` says so.

    Args:
        extractor: the model, on its device.

    Attributes:
        notes: one text per call that did not fit since `take_notes`: the size of the image, and how it was computed.
    """

    def __init__(self, extractor: nn.Module) -> None:
        self.extractor = extractor
        self.patch_size: int = extractor.patch_size  # type: ignore[assignment]
        self.dim: int = extractor.dim  # type: ignore[assignment]
        self.notes: list[str] = []
        self._on_cpu: nn.Module | None = None

    def __call__(self, image: Tensor) -> Tensor:
        """See `Extractor`.

        Raises:
            MemoryError: not even the smallest tile fits, here or on the CPU.
        """
        name, features = first_that_fits(self._ways(image))
        if name:
            self.notes.append(f"{image.shape[-2]} x {image.shape[-1]} pixels {name}")
        return features

    def take_notes(self) -> list[str]:
        """Returns the notes and clears them."""
        notes, self.notes = self.notes, []
        return notes

    def _ways(self, image: Tensor) -> Iterator[tuple[str, Callable[[], Tensor]]]:
        yield "", lambda: self.extractor(image)
        if len(image) > 1:
            yield "one by one", lambda: torch.cat([self.extractor(single[None]) for single in image])
        cells = min(image.shape[-2:]) // self.patch_size
        for parts in (parts for parts in PARTS if cells // parts > 1):
            yield f"in {parts} x {parts} tiles", lambda parts=parts: in_tiles(self, image, parts)  # type: ignore[misc]
        if image.device.type != "cpu":
            yield "on the CPU", lambda: self._cpu(image)

    def _cpu(self, image: Tensor) -> Tensor:
        """One by one on the CPU; the copy of the model stays for the next time."""
        if self._on_cpu is None:
            self._on_cpu = copy.deepcopy(self.extractor).cpu()
        features = [self._on_cpu(single[None].cpu()) for single in image]
        return torch.cat(features).to(image.device)


def in_tiles(frugal: MemoryFallback, image: Tensor, parts: int) -> Tensor:
    """Features (B,D,h,w) of (B,3,H,W) from parts x parts tiles that overlap by twice MARGIN cells."""
    patch, batch = frugal.patch_size, len(image)
    grid = (image.shape[-2] // patch, image.shape[-1] // patch)
    features: Tensor | None = None
    for number, rows, columns in product(range(batch), spans(grid[0], parts), spans(grid[1], parts)):
        tile = image[number : number + 1, :, rows.seen(patch), columns.seen(patch)]
        made = frugal.extractor(tile)[0, :, rows.inner, columns.inner]
        if features is None:
            features = made.new_empty(batch, len(made), *grid)
        features[number, :, rows.kept, columns.kept] = made
    if features is None:
        raise ValueError(f"an image of {grid} cells in {parts} parts: there is nothing to cut")
    return features


class Span:
    """The cells of a tile along one axis: those it keeps, and those it sees."""

    def __init__(self, start: int, stop: int, cells: int) -> None:
        self.first, self.last = max(start - MARGIN, 0), min(stop + MARGIN, cells)
        self.kept = slice(start, stop)
        self.inner = slice(start - self.first, stop - self.first)

    def seen(self, patch: int) -> slice:
        """Pixels of the tile."""
        return slice(self.first * patch, self.last * patch)


def spans(cells: int, parts: int) -> list[Span]:
    """An axis of `cells` cut into `parts` that keep every cell once; at most one part per cell."""
    bounds = [round(cells * part / parts) for part in range(parts + 1)]
    return [Span(start, stop, cells) for start, stop in pairwise(bounds) if stop > start]
