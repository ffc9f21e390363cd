"""What flows through the program, as typed values, and the geometry that keeps them on the same pixels.

Axis letters used everywhere: B images, K classes (all of the data set), M classes of one image (slots), T tags,
D feature channels, H W pixels of the crop, h w cells of a feature map, N = h w.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import default_collate

from dhr.dataset.photometric import normalise


@dataclass(frozen=True)
class Window:
    """Where a crop lies in its image, so that image, mask and feature map are cut alike.

    The image is resized to `scaled` (height, width), flipped left to right if `flip`, and the box `source`
    (top, left, height, width) of the result is put at `place` (top, left) of an otherwise empty `canvas`.
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
        """Cuts an already resized tensor (..., scaled height, scaled width) into the canvas, `fill` elsewhere."""
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

    def on_map(self, features: Tensor, grid: tuple[int, int]) -> "Maps":
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
        return Maps(features, *places)

    def valid_cells(self, grid: tuple[int, int]) -> Tensor:
        """(h,w) bool, true where the centre of a cell lies on image."""
        return covered(boxes_of([self]), self.canvas, grid)[0]


def boxes_of(windows: Iterable[Window]) -> Tensor:
    """(B,4) int64: top, left, height and width of the part of each canvas that shows image."""
    return torch.tensor([(*window.place, *window.source[2:]) for window in windows])


def covered(boxes: Tensor, canvas: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """(B,h,w) bool, true where the centre of a cell of `grid` (h,w), laid over the canvas, lies in the box (B,4)."""
    places = []
    for axis in (0, 1):
        centres = (torch.arange(grid[axis], device=boxes.device) + 0.5) * (canvas[axis] / grid[axis])
        start, length = boxes[:, axis, None], boxes[:, axis + 2, None]
        places.append((centres >= start) & (centres < start + length))
    return places[0][:, :, None] & places[1][:, None, :]


@dataclass(frozen=True)
class Maps:
    """USS maps of whole images as they are stored, and where the cells of their crops lie on them.

    Shapes: values (B,D,h0,w0), 0 where a map is smaller than the largest one; rows (B,h) and columns (B,w) float, in
    cells of the map, 0 being the centre of its first one and never beyond its last one. Without B for one image.
    """

    values: Tensor
    rows: Tensor
    columns: Tensor

    @classmethod
    def on_cells(cls, features: Tensor) -> Self:
        """Features (B,D,h,w) that are on the cells of the crops already."""
        rows, columns = (
            torch.arange(length, device=features.device).expand(len(features), -1) for length in features.shape[2:]
        )
        return cls(features, rows, columns)

    @classmethod
    def stack(cls, maps: list[Self]) -> Self:
        """Maps of one image each, of any size, on grids of the same size."""
        height, width = (max(each.values.shape[axis] for each in maps) for axis in (1, 2))
        room = [(0, width - each.values.shape[2], 0, height - each.values.shape[1]) for each in maps]
        return cls(
            values=default_collate([functional.pad(each.values, over) for each, over in zip(maps, room, strict=True)]),
            rows=default_collate([each.rows for each in maps]),
            columns=default_collate([each.columns for each in maps]),
        )

    def sampled(self) -> Tensor:
        """(B,D,h,w) float32, bilinear between the four cells around each place."""
        high, wide = (max(length - 1, 1) / 2 for length in self.values.shape[2:])
        y, x = self.rows[:, :, None] / high - 1, self.columns[:, None, :] / wide - 1
        places = torch.stack(torch.broadcast_tensors(x, y), -1)
        return functional.grid_sample(self.values.float(), places.float(), align_corners=True)

    def each(self, change: Callable[[Tensor], Tensor]) -> Self:
        """The same, every tensor changed."""
        return replace(self, values=change(self.values), rows=change(self.rows), columns=change(self.columns))


@dataclass(frozen=True)
class Sample:
    """One training crop.

    Shapes: pixels (3,H,W) uint8 RGB; tags (T) float 0/1; wss_mask (H,W) uint8; maps, its USS features, None where no
    stage needs them; jitter (7), how the colours of the pixels are still to be changed, None where they are right.
    """

    id: str
    pixels: Tensor
    tags: Tensor
    wss_mask: Tensor
    window: Window
    maps: Maps | None = None
    jitter: Tensor | None = None


@dataclass(frozen=True)
class Batch:
    """Samples stacked along a new first axis; `ids` stay a tuple, one entry per image.

    As the loader gives it, a batch of crops has its `jitter` before it. The data module makes the one that a step sees
    from it, where `pixels`, and so the image, are what network and CRF see.

    `boxes` (B,4) has top, left, height and width of the part of each canvas that shows image; `most_tags` is the
    largest number of tags that an image has; `whole` (B,) bool says which crops show the whole image. They are made
    where the samples are stacked, so that no step has to ask an accelerator for them.
    """

    ids: tuple[str, ...]
    pixels: Tensor
    tags: Tensor
    wss_mask: Tensor
    boxes: Tensor
    most_tags: int
    whole: Tensor
    maps: Maps | None = None
    jitter: Tensor | None = None

    @classmethod
    def stack(cls, samples: list[Sample]) -> Self:
        """Stacks samples of equal shapes; in a worker of a loader, straight into the memory it shares."""
        tags = default_collate([sample.tags for sample in samples])
        jitter = [sample.jitter for sample in samples if sample.jitter is not None]
        maps = [sample.maps for sample in samples if sample.maps is not None]
        return cls(
            ids=tuple(sample.id for sample in samples),
            pixels=default_collate([sample.pixels for sample in samples]),
            tags=tags,
            wss_mask=default_collate([sample.wss_mask for sample in samples]),
            boxes=boxes_of(sample.window for sample in samples),
            most_tags=int((tags > 0).sum(1).max()),
            whole=torch.tensor([sample.window.shows_all for sample in samples]),
            maps=Maps.stack(maps) if maps else None,
            jitter=default_collate(jitter) if jitter else None,
        )

    @cached_property
    def image(self) -> Tensor:
        """(B,3,H,W) float, the normalised pixels, 0 where a crop shows no image.

        Raises:
            ValueError: the colours are still to be jittered.
        """
        if self.jitter is not None:
            raise ValueError("this batch is as the loader gave it; SegmentationData.on_after_batch_transfer jitters it")
        return normalise(self.pixels).masked_fill_(~self.valid[:, None], 0.0)

    @cached_property
    def uss_features(self) -> Tensor | None:
        """(B,D,h,w) float on the grid of the crops, 0 at cells whose centre lies off the image; None without maps."""
        if self.maps is None:
            return None
        features = self.maps.sampled()
        return features * self.cells((features.shape[-2], features.shape[-1]))[:, None]

    @property
    def valid(self) -> Tensor:
        """(B,H,W) bool, true where a crop shows image."""
        height, width = self.pixels.shape[-2:]
        return self.cells((height, width))

    def cells(self, grid: tuple[int, int]) -> Tensor:
        """(B,h,w) bool, true where the centre of a cell of `grid` (h,w) lies on image."""
        height, width = self.pixels.shape[-2:]
        return covered(self.boxes, (height, width), grid)

    def to(self, device: torch.device) -> Self:
        """The batch with every tensor on `device`."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Self:
        """The batch in page-locked memory; called by the data loader."""
        return self._each(torch.Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Self:
        changed: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                changed[field.name] = change(value)
            elif isinstance(value, Maps):
                changed[field.name] = value.each(change)
        return replace(self, **changed)


@dataclass(frozen=True)
class Queries:
    """What one layer of a mask classifier says: classes (B,Q,K+1) logits, no object last; masks (B,Q,h,w) logits."""

    classes: Tensor
    masks: Tensor


@dataclass(frozen=True)
class Decoded:
    """What a decoder makes of the feature maps: logits (B,K,h,w), and the queries of each layer if it has any."""

    logits: Tensor
    queries: tuple[Queries, ...] = ()


@dataclass(frozen=True)
class NetworkOutput:
    """What the network says of a batch.

    Shapes: logits (B,K,h,w) at the stride of the decoder; cams (B,T,h,w) signed scores of the bias-free classifier,
    T = 0 without one; features: the maps C4 and C5, (B,D,h,w) each; queries of a mask classifier, for its loss.
    """

    logits: Tensor
    cams: Tensor
    features: tuple[Tensor, Tensor]
    queries: tuple[Queries, ...] = ()

    def detach(self) -> "NetworkOutput":
        """The same maps in float32, cut from the graph, for those who make labels of them; they read no queries."""
        c4, c5 = self.features
        return NetworkOutput(
            logits=self.logits.detach().float(),
            cams=self.cams.detach().float(),
            features=(c4.detach().float(), c5.detach().float()),
        )
