"""From the pixels of an image to its mask: the network at several scales, then a dense CRF."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from dhr.core.colour import normalise
from dhr.core.numerics import fast_argmax
from dhr.crf.interface import Crf, naming_images
from dhr.network.multi_scale import multi_scale_probabilities
from dhr.network.segmentation import SegmentationNetwork
from dhr.network.tiles import Tile, Tiles, on_all_pixels, tiled_cells
from dhr.runtime.pools import AHEAD, map_ahead

Picture = tuple[str, Tensor, Tensor | None]  # id, (3,H,W) uint8 pixels, (K) bool classes that its mask may have or None


@dataclass(frozen=True)
class Seen:
    """What the network sees in an image: (K,H,W) on pixels, or (K,h,w) on cells where there are tiles."""

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
    """

    network: SegmentationNetwork
    crf: Crf
    scales: tuple[float, ...]
    flip: bool
    minimum_probability: float
    device: torch.device
    tiles: Tiles | None = None

    def probabilities(self, pixels: Tensor) -> Tensor:
        """(3,H,W) uint8 -> (K,H,W) on the CPU, of the image as a whole."""
        image = normalise(pixels.to(self.device))
        return multi_scale_probabilities(self.network, image, scales=self.scales, flip=self.flip).cpu()

    def soft(self, pixels: Tensor) -> Tensor:
        """(3,H,W) uint8 -> (K,H,W) float16 on the CPU, as `masks` hands them out."""
        return self._on_pixels(self._seen(pixels), pixels)

    def refine(self, probabilities: Tensor, pixels: Tensor, allowed: Tensor | None = None) -> Tensor:
        """(K,H,W) and (3,H,W) uint8 -> (H,W) uint8 mask; the CRF sees only classes that are probable somewhere.

        `allowed` (K) bool, at least one true, restricts the mask to some of the classes: background and tags.
        """
        kept = self._probable(probabilities, allowed)
        return self._labelled(probabilities[kept], kept, pixels)

    def masks(
        self, pictures: Iterable[Picture], *, soft: Callable[[str, Tensor], None] | None = None
    ) -> Iterator[tuple[str, Tensor]]:
        """Ids and (H,W) uint8 masks, in this order; the CRF of some images runs while the network sees the next ones.

        The CRF of an image that is cut works tile by tile, on the classes that are probable anywhere in the image.

        Args:
            pictures: what to look at.
            soft: takes the id and the probabilities (K,H,W) float16 of every image before the CRF, from any thread;
                `allowed` does not change them.

        Raises:
            InputError: the network's scores of an image are no probabilities.
        """

        def looked_at() -> Iterator[tuple[Picture, Seen]]:
            for picture in pictures:
                yield picture, self._seen(picture[1])

        def refined(looked: tuple[Picture, Seen]) -> tuple[str, Tensor]:
            (image_id, pixels, allowed), seen = looked
            with naming_images([image_id], "are these weights sound? train anew, or take those of an earlier epoch"):
                mask = self._mask(seen, pixels, allowed)
            if soft is not None:
                soft(image_id, self._on_pixels(seen, pixels))
            return image_id, mask

        workers, ahead = self.crf.workers or 1, AHEAD if self.tiles is None else 1  # of any size: few wait at a time
        with ThreadPoolExecutor(workers) as pool:
            yield from map_ahead(pool, refined, looked_at(), workers=workers, ahead=ahead)

    def _seen(self, pixels: Tensor) -> Seen:
        tiles = self.tiles.of((pixels.shape[-2], pixels.shape[-1])) if self.tiles is not None else []
        if not tiles:
            return Seen(self.probabilities(pixels), [])
        cells = tiled_cells(self.network, pixels, tiles, scales=self.scales, flip=self.flip, device=self.device)
        return Seen(cells, tiles)

    def _mask(self, seen: Seen, pixels: Tensor, allowed: Tensor | None) -> Tensor:
        """As `refine`, in tiles where there are any."""
        if not seen.tiles:
            return self.refine(seen.probabilities, pixels, allowed)
        kept = self._probable(seen.probabilities, allowed)
        mask = torch.empty(pixels.shape[1:], dtype=torch.uint8)
        for tile in seen.tiles:
            probabilities = tile.on_pixels(seen.probabilities[kept], self.network.decoder.stride)
            labels = self._labelled(probabilities, kept, pixels[:, tile.rows.seen, tile.columns.seen])
            mask[tile.rows.kept, tile.columns.kept] = labels[tile.rows.inner, tile.columns.inner]
        return mask

    def _probable(self, probabilities: Tensor, allowed: Tensor | None) -> Tensor:
        """Indices of the classes that a mask may have; where no number is one, all, so that the CRF refuses them."""
        top = probabilities.amax((1, 2))
        if allowed is not None:
            top = top * allowed
        kept = ~(top < min(self.minimum_probability, float(top.max())))
        return (kept if allowed is None else kept & allowed).nonzero()[:, 0]

    def _labelled(self, probabilities: Tensor, kept: Tensor, pixels: Tensor) -> Tensor:
        """(M,H,W) of the kept classes and (3,H,W) uint8 -> (H,W) uint8 class indices."""
        size = probabilities.shape[1:]
        field = self.crf.on(pixels[None], torch.ones(1, *size, dtype=torch.bool))
        marginals = field(probabilities[None], torch.ones(1, len(kept), dtype=torch.bool))
        return kept[fast_argmax(marginals[0], dim=0)].to(torch.uint8)

    def _on_pixels(self, seen: Seen, pixels: Tensor) -> Tensor:
        if not seen.tiles:
            return seen.probabilities.half()
        size = (pixels.shape[-2], pixels.shape[-1])
        return on_all_pixels(seen.probabilities, seen.tiles, size, stride=self.network.decoder.stride)
