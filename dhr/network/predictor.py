"""From the pixels of an image to its mask: the network at several scales, then a dense CRF."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from dhr.core.cells import Size
from dhr.core.colour import normalise
from dhr.core.numerics import fast_argmax
from dhr.core.ranges import Precision
from dhr.crf.interface import UNSOUND, Crf, naming_images
from dhr.network.multi_scale import multi_scale_probabilities
from dhr.network.precision import mixed
from dhr.network.segmentation import SegmentationNetwork
from dhr.network.shrunken import enlarged_argmax, shrunk
from dhr.network.tiles import Tile, Tiles, on_all_pixels, tiled_cells
from dhr.runtime.pools import AHEAD, map_ahead

Picture = tuple[str, Tensor, Tensor | None]  # id, (3,H,W) uint8 pixels, (K) bool classes that its mask may have or None


Part = tuple[slice, slice, Tensor]  # rows and columns of an image, and (M,h,w) marginals there


@dataclass(frozen=True)
class Seen:
    """What the network sees in an image.

    Attributes:
        pixels: (3,H,W) uint8 of the image, shrunken where the predictor shrinks.
        probabilities: (K,H,W) on these pixels, or (K,h,w) on cells where there are tiles.
        tiles: those that the image was cut into, if it was.
    """

    pixels: Tensor
    probabilities: Tensor
    tiles: Sequence[Tile]


@dataclass(frozen=True)
class Predictor:
    """Network, test-time augmentation and CRF: a picture to its mask.

    Attributes:
        network: in eval mode, on `device`.
        crf: dense CRF.
        scales: factors on the image size.
        flip: whether the mirrored image is averaged in.
        minimum_probability: classes that stay below it in the whole image are dropped before the CRF.
        device: where the network runs.
        tiles: which images are cut, and how; None sees every image whole.
        longest: larger images are shrunken to so many pixels of their longer side before network and CRF; their masks
            have the size of the image all the same. None: no image is.
        precision: of the network; its probabilities are computed in float32 and the CRF sees no difference.
    """

    network: SegmentationNetwork
    crf: Crf
    scales: tuple[float, ...]
    flip: bool
    minimum_probability: float
    device: torch.device
    tiles: Tiles | None = None
    longest: int | None = None
    precision: Precision = "fp32"

    @property
    def cure(self) -> str:
        """What helps where the network gives no numbers."""
        return UNSOUND if self.precision == "fp32" else f"try precision=fp32; {UNSOUND}"

    def probabilities(self, pixels: Tensor) -> Tensor:
        """(3,H,W) uint8 -> (K,H,W) on the CPU, of the image as a whole."""
        image = normalise(pixels.to(self.device))
        with mixed(self.precision, self.device):
            return multi_scale_probabilities(self.network, image, scales=self.scales, flip=self.flip).cpu()

    def soft(self, pixels: Tensor) -> Tensor:
        """(3,H,W) uint8 -> (K,H,W) float16 on the CPU, as `masks` hands them out."""
        return self._on_pixels(self._seen(pixels))

    def refine(
        self, probabilities: Tensor, pixels: Tensor, allowed: Tensor | None = None, *, size: Size | None = None
    ) -> Tensor:
        """(K,h,w) and (3,h,w) uint8 -> uint8 mask; the CRF sees only classes that are probable somewhere.

        Args:
            probabilities: of the network.
            pixels: of the image that it saw.
            allowed: (K) bool, at least one true, restricts the mask to some of the classes: background and tags.
            size: (H,W) of the mask, where the image is a shrunken one; None: that of the pixels.
        """
        return self._mask(Seen(pixels, probabilities, []), allowed, size or (pixels.shape[-2], pixels.shape[-1]))

    def masks(
        self, pictures: Iterable[Picture], *, soft: Callable[[str, Tensor], None] | None = None
    ) -> Iterator[tuple[str, Tensor]]:
        """Ids and (H,W) uint8 masks, in this order; the CRF of some images runs while the network sees the next ones.

        The CRF of an image that is cut works tile by tile, on the classes that are probable anywhere in the image.

        Args:
            pictures: what to look at.
            soft: takes the id and the probabilities (K,H,W) float16 of every image before the CRF, from any thread;
                `allowed` does not change them, and where images are shrunken, so are they.

        Raises:
            InputError: the network's scores of an image are no probabilities.
        """

        def looked_at() -> Iterator[tuple[str, Seen, Tensor | None, Size]]:
            for image_id, pixels, allowed in pictures:
                yield image_id, self._seen(pixels), allowed, (pixels.shape[-2], pixels.shape[-1])

        def refined(looked: tuple[str, Seen, Tensor | None, Size]) -> tuple[str, Tensor]:
            image_id, seen, allowed, size = looked
            with naming_images([image_id], self.cure):
                mask = self._mask(seen, allowed, size)
            if soft is not None:
                soft(image_id, self._on_pixels(seen))
            return image_id, mask

        workers, ahead = self.crf.workers or 1, AHEAD if self.tiles is None else 1  # of any size: few wait at a time
        with ThreadPoolExecutor(workers) as pool:
            yield from map_ahead(pool, refined, looked_at(), workers=workers, ahead=ahead)

    def _seen(self, pixels: Tensor) -> Seen:
        pixels = shrunk(pixels, self.longest)
        tiles = self.tiles.of((pixels.shape[-2], pixels.shape[-1])) if self.tiles is not None else []
        if not tiles:
            return Seen(pixels, self.probabilities(pixels), [])
        with mixed(self.precision, self.device):
            cells = tiled_cells(self.network, pixels, tiles, scales=self.scales, flip=self.flip, device=self.device)
        return Seen(pixels, cells, tiles)

    def _mask(self, seen: Seen, allowed: Tensor | None, size: Size) -> Tensor:
        """(*size) uint8 class indices; what the CRF says of a shrunken image is made large before they are chosen."""
        kept, sides = self._probable(seen.probabilities, allowed), seen.pixels.shape[1:]
        if sides == size:
            mask = torch.empty(size, dtype=torch.uint8)
            for rows, columns, marginals in self._parts(seen, kept):
                mask[rows, columns] = kept[fast_argmax(marginals, dim=0)].to(torch.uint8)
            return mask
        whole = torch.empty(len(kept), *sides)
        for rows, columns, marginals in self._parts(seen, kept):
            whole[:, rows, columns] = marginals
        return kept.to(torch.uint8)[enlarged_argmax(whole, size)]

    def _parts(self, seen: Seen, kept: Tensor) -> Iterator[Part]:
        """What the CRF says of the image, or of each of its tiles, as far as it is kept."""
        everywhere = slice(None)
        if not seen.tiles:
            yield everywhere, everywhere, self._marginals(seen.probabilities[kept], seen.pixels)
        for tile in seen.tiles:
            probabilities = tile.on_pixels(seen.probabilities[kept], self.network.decoder.stride)
            marginals = self._marginals(probabilities, seen.pixels[:, tile.rows.seen, tile.columns.seen])
            yield tile.rows.kept, tile.columns.kept, marginals[:, tile.rows.inner, tile.columns.inner]

    def _probable(self, probabilities: Tensor, allowed: Tensor | None) -> Tensor:
        """Indices of the classes that a mask may have; where no number is one, all, so that the CRF refuses them."""
        top = probabilities.amax((1, 2))
        if allowed is not None:
            top = top * allowed
        kept = ~(top < min(self.minimum_probability, float(top.max())))
        return (kept if allowed is None else kept & allowed).nonzero()[:, 0]

    def _marginals(self, probabilities: Tensor, pixels: Tensor) -> Tensor:
        """(M,H,W) of the kept classes and (3,H,W) uint8 -> (M,H,W) behind the CRF."""
        field = self.crf.on(pixels[None], torch.ones(1, *probabilities.shape[1:], dtype=torch.bool))
        return field(probabilities[None], torch.ones(1, len(probabilities), dtype=torch.bool))[0]

    def _on_pixels(self, seen: Seen) -> Tensor:
        if not seen.tiles:
            return seen.probabilities.half()
        size = (seen.pixels.shape[-2], seen.pixels.shape[-1])
        return on_all_pixels(seen.probabilities, seen.tiles, size, stride=self.network.decoder.stride)
