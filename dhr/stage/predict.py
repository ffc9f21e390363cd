"""`dhr.predict`: masks of a split from a trained network, refined by a dense CRF."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig
from torch import Tensor

from dhr.config.parts import build, check_signatures, without_saw
from dhr.core.colour import normalise
from dhr.core.numerics import fast_argmax
from dhr.crf.interface import Crf
from dhr.dataset.split import Split
from dhr.disk.mark import sha256_of
from dhr.disk.mask import encode_mask
from dhr.disk.output import Keep, Output
from dhr.network.multi_scale import multi_scale_probabilities
from dhr.network.segmentation import SegmentationNetwork
from dhr.runtime.pools import map_ahead
from dhr.runtime.ranks import Ranks
from dhr.stage.source import Source
from dhr.training.divergence import naming_images

NETWORK = ("backbone", "decoder", "classifier")


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

    def refine(self, probabilities: Tensor, pixels: Tensor) -> Tensor:
        """(K,H,W) and (3,H,W) uint8 -> (H,W) uint8 mask; the CRF sees only classes that are probable somewhere."""
        top = probabilities.amax((1, 2))
        kept = (top >= min(self.minimum_probability, float(top.max()))).nonzero()[:, 0]
        size = probabilities.shape[1:]
        field = self.crf.on(pixels[None], torch.ones(1, *size, dtype=torch.bool))
        marginals = field(probabilities[kept][None], torch.ones(1, len(kept), dtype=torch.bool))
        return kept[fast_argmax(marginals[0], dim=0)].to(torch.uint8)

    def masks(self, split: Split, ids: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
        """Ids and (H,W) uint8 masks, in this order; the CRF of some images runs while the network sees the next ones.

        Raises:
            InputError: the network's scores of an image are no probabilities.
        """

        def looked_at() -> Iterator[tuple[str, Tensor, Tensor]]:
            for image_id in ids:
                pixels = split.pixels(image_id)
                yield image_id, self.probabilities(pixels), pixels

        def refined(image: tuple[str, Tensor, Tensor]) -> tuple[str, Tensor]:
            image_id, probabilities, pixels = image
            with naming_images([image_id], "are these weights sound? train anew, or take those of an earlier epoch"):
                return image_id, self.refine(probabilities, pixels)

        with ThreadPoolExecutor(self.crf.workers or 1) as pool:
            yield from map_ahead(pool, refined, looked_at(), workers=self.crf.workers or 1)


def predict(cfg: DictConfig) -> Path:
    """Writes the masks of `cfg.split`; images that have a mask of the same settings are left alone.

    Returns:
        The folder of the masks.

    Raises:
        InputError: no such run, or its masks were made with other settings.
    """
    check_signatures(cfg)
    source = Source.of(cfg)
    split, ranks = source.split(cfg.split), Ranks.join()
    scales = tuple(cfg.dataset.test_scales if cfg.scales is None else cfg.scales)
    predictor = Predictor(
        network=source.network(split.table).to(ranks.device).eval(),
        crf=build(cfg.crf),
        scales=scales,
        flip=cfg.flip,
        minimum_probability=cfg.minimum_probability,
        device=ranks.device,
    )
    parts = {name: without_saw(source.settings[name]) for name in NETWORK}
    settings = {
        "weights": sha256_of(source.weights),
        **{name: {key: value for key, value in part.items() if key != "weights"} for name, part in parts.items()},
        "classes": list(split.table.names),
        "scales": list(scales),
        "flip": cfg.flip,
        "minimum_probability": cfg.minimum_probability,
        "crf": {key: value for key, value in cfg.crf.items() if key != "workers"},
    }

    def make(todo: Sequence[str], keep: Keep) -> Iterator[str]:
        for image_id, mask in predictor.masks(split, todo):
            keep(image_id, encode_mask(mask.numpy(), split.table.palette))
            yield image_id

    output = Output(
        folder=source.folder.masks(cfg.split),
        settings=settings,
        sources=lambda image_id: [split.layout.image(split.name, image_id)],
        elsewhere="a copy of the run" if source.is_run else "paths.outputs=<folder>",
    )
    output.fill(split.all_ids(), make, ranks, title=f"predict {split.name}", overwrite=cfg.overwrite)
    ranks.leave()
    return output.folder
