"""`dhr.predict`: masks of a split from a trained network, refined by a dense CRF."""

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig
from torch import Tensor

from dhr.config.parts import build, check_signatures, without_saw
from dhr.config.stored import load_run_config
from dhr.core.colour import normalise
from dhr.core.errors import InputError
from dhr.core.numerics import winner
from dhr.crf.interface import Crf
from dhr.dataset.classes import ClassTable
from dhr.dataset.split import Split
from dhr.disk.layout import RunFolder
from dhr.disk.mark import sha256_of
from dhr.disk.mask import encode_mask
from dhr.disk.output import Keep, Output
from dhr.disk.run_record import RunRecord
from dhr.network.multi_scale import multi_scale_probabilities
from dhr.network.segmentation import SegmentationNetwork
from dhr.network.weights import load_network
from dhr.runtime.ranks import Ranks
from dhr.stage.parts import build_network, open_split, open_split_of_run
from dhr.training.divergence import naming

NETWORK = ("backbone", "decoder", "classifier")
DIGITS = 8  # of the digest of weights in the name of a folder
IN_FLIGHT = 4  # images between network and disk per CRF worker: bounds the memory
log = logging.getLogger("dhr.predict")


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
        return kept[winner(marginals[0], dim=0)].to(torch.uint8)

    def named_mask(self, id: str, probabilities: Tensor, pixels: Tensor) -> Tensor:
        """`refine`; what it refuses is said of the image."""
        with naming([id], "are these weights sound? train anew, or take those of an earlier epoch"):
            return self.refine(probabilities, pixels)


def predict(cfg: DictConfig) -> Path:
    """Writes the masks of `cfg.split`; images that have a mask of the same settings are left alone.

    Returns:
        The folder of the masks.

    Raises:
        InputError: no such run, or its masks were made with other settings.
    """
    check_signatures(cfg)
    source, run = source_of(cfg)
    split, ranks = opened_split(cfg, source), Ranks.join()
    ids = [split.id(position) for position in range(len(split))]
    predictor = _predictor(cfg, source, split, ranks.device)

    def make(todo: Sequence[str], keep: Keep) -> Iterator[str]:
        for id, mask in _masks(predictor, split, todo):
            keep(id, encode_mask(mask.numpy(), split.table.palette))
            yield id

    output = Output(
        folder=run.masks(cfg.split),
        settings=_settings(cfg, source, split),
        sources=lambda id: [split.layout.image(split.name, id)],
        elsewhere="paths.outputs=<folder>" if cfg.run is None else "a copy of the run",
    )
    output.fill(ids, make, ranks, title=f"predict {split.name}", overwrite=cfg.overwrite)
    ranks.leave()
    return output.folder


def _masks(predictor: Predictor, split: Split, ids: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
    """Masks in the order of `ids`; the CRF of one image runs while the network sees the next ones."""
    workers = max(getattr(predictor.crf, "workers", 1), 1)
    waiting: list[tuple[str, Future[Tensor]]] = []
    with ThreadPoolExecutor(workers) as pool:
        for id in ids:
            pixels = split.pixels(id)
            waiting.append((id, pool.submit(predictor.named_mask, id, predictor.probabilities(pixels), pixels)))
            if len(waiting) >= IN_FLIGHT * workers:
                first, mask = waiting.pop(0)
                yield first, mask.result()
        for id, mask in waiting:
            yield id, mask.result()


def source_of(cfg: DictConfig) -> tuple[DictConfig, RunFolder]:
    """The configuration that says which network and data, and the folder of what is made of it.

    Files of weights that have the same name, as last.ckpt, do not share a folder.

    Raises:
        InputError: no such run, or it is not finished.
    """
    if cfg.run is not None:
        run = RunFolder(Path(cfg.run))
        stored = load_run_config(run.root)
        if RunRecord.read(run.record).status != "finished":
            raise InputError(f"run: {run.root}: is not finished; continue it with the same command and resume=true")
        stored.paths.data = cfg.paths.data
        return stored, run
    path = Path(cfg.weights)
    name = f"{path.stem}-{sha256_of(path).partition(':')[2][:DIGITS]}" if path.is_file() else path.stem
    return cfg, RunFolder(Path(cfg.paths.outputs) / cfg.dataset.name / "weights" / name)


def opened_split(cfg: DictConfig, source: DictConfig) -> Split:
    """The split `cfg.split` of the data of the run or, without a run, of those that are configured.

    Raises:
        InputError: it is not on disk, or its labels mean other classes than those that the run learnt.
    """
    run = None if cfg.run is None else RunFolder(Path(cfg.run))
    return open_split(source, cfg.split) if run is None else open_split_of_run(source, run, cfg.split)


def _predictor(cfg: DictConfig, source: DictConfig, split: Split, device: torch.device) -> Predictor:
    return Predictor(
        network=trained_network(cfg, source, split.table).to(device).eval(),
        crf=build(cfg.crf),
        scales=_scales(cfg),
        flip=cfg.flip,
        minimum_probability=cfg.minimum_probability,
        device=device,
    )


def trained_network(cfg: DictConfig, source: DictConfig, table: ClassTable) -> SegmentationNetwork:
    """The network that `source` describes, with the weights of `cfg.weights`, or the averaged ones of `cfg.run`.

    Raises:
        InputError: they do not fit.
    """
    if "weights" in source.backbone:
        source.backbone.weights = None  # where training started from: all of it is in the run's own weights
    network = build_network(source, table)
    path = weights_of(cfg)
    load_network(network, path)
    if cfg.run is None:
        log.info(f"{path}: fits; it does not say its output stride, {network.backbone.output_stride} is taken")
    return network


def weights_of(cfg: DictConfig) -> Path:
    """The file of weights that is asked for."""
    return Path(cfg.weights) if cfg.run is None else RunFolder(Path(cfg.run)).last


def _scales(cfg: DictConfig) -> tuple[float, ...]:
    return tuple(cfg.dataset.test_scales if cfg.scales is None else cfg.scales)


def _settings(cfg: DictConfig, source: DictConfig, split: Split) -> dict[str, object]:
    """Masks of one folder come from one network, one meaning of its classes and one way to ask it."""
    parts = {name: without_saw(source[name]) for name in NETWORK}
    return {
        "weights": sha256_of(weights_of(cfg)),
        **{name: {key: value for key, value in part.items() if key != "weights"} for name, part in parts.items()},
        "classes": list(split.table.names),
        "scales": list(_scales(cfg)),
        "flip": cfg.flip,
        "minimum_probability": cfg.minimum_probability,
        "crf": {key: value for key, value in cfg.crf.items() if key != "workers"},
    }
