"""From the pixels of an image to its mask: the network at several scales, then a dense CRF."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from dhr.core.colour import normalise
from dhr.core.numerics import fast_argmax
from dhr.crf.interface import Crf, naming_images
from dhr.network.multi_scale import multi_scale_probabilities
from dhr.network.segmentation import SegmentationNetwork
from dhr.runtime.pools import map_ahead

Picture = tuple[str, Tensor, Tensor | None]  # id, (3,H,W) uint8 pixels, (K) bool classes that its mask may have or None


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
    """

    network: SegmentationNetwork
    crf: Crf
    scales: tuple[float, ...]
    flip: bool
    minimum_probability: float
    device: torch.device

    def probabilities(self, pixels: Tensor) -> Tensor:
        """(3,H,W) uint8 -> (K,H,W) on the CPU."""
        image = normalise(pixels.to(self.device))
        return multi_scale_probabilities(self.network, image, scales=self.scales, flip=self.flip).cpu()

    def refine(self, probabilities: Tensor, pixels: Tensor, allowed: Tensor | None = None) -> Tensor:
        """(K,H,W) and (3,H,W) uint8 -> (H,W) uint8 mask; the CRF sees only classes that are probable somewhere.

        `allowed` (K) bool, at least one true, restricts the mask to some of the classes: background and tags.
        """
        if allowed is not None:
            probabilities = probabilities * allowed[:, None, None]
        top = probabilities.amax((1, 2))
        kept = (top >= min(self.minimum_probability, float(top.max()))).nonzero()[:, 0]
        size = probabilities.shape[1:]
        field = self.crf.on(pixels[None], torch.ones(1, *size, dtype=torch.bool))
        marginals = field(probabilities[kept][None], torch.ones(1, len(kept), dtype=torch.bool))
        return kept[fast_argmax(marginals[0], dim=0)].to(torch.uint8)

    def masks(self, pictures: Iterable[Picture]) -> Iterator[tuple[str, Tensor]]:
        """Ids and (H,W) uint8 masks, in this order; the CRF of some images runs while the network sees the next ones.

        Raises:
            InputError: the network's scores of an image are no probabilities.
        """

        def looked_at() -> Iterator[tuple[Picture, Tensor]]:
            for picture in pictures:
                yield picture, self.probabilities(picture[1])

        def refined(seen: tuple[Picture, Tensor]) -> tuple[str, Tensor]:
            (image_id, pixels, allowed), probabilities = seen
            with naming_images([image_id], "are these weights sound? train anew, or take those of an earlier epoch"):
                return image_id, self.refine(probabilities, pixels, allowed)

        with ThreadPoolExecutor(self.crf.workers or 1) as pool:
            yield from map_ahead(pool, refined, looked_at(), workers=self.crf.workers or 1)
