"""`dhr.predict`: masks of a split from a trained network, refined by a dense CRF."""

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig
from torch import Tensor

from dhr.artifacts import RunFolder, read_json, write_json, write_mask
from dhr.building import build_network, open_split, open_split_of_run
from dhr.config.parts import build
from dhr.config.stored import load_run_config
from dhr.crf.interface import Crf
from dhr.dataset.photometric import normalise
from dhr.dataset.reader import Split
from dhr.errors import InputError
from dhr.inference import multi_scale_probabilities
from dhr.network import SegmentationNetwork
from dhr.numerics import winner
from dhr.progress import progress
from dhr.ranks import Ranks
from dhr.run_record import RunRecord
from dhr.soundness import naming
from dhr.weights import load_strictly, network_weights

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
    source, folder = _source(cfg)
    split, ranks = _split(cfg, source), Ranks.join()
    ids = [split.id(position) for position in range(len(split))]
    predictor = _predictor(cfg, source, split, ranks.device)
    if ranks.first:
        _refuse_mixture(folder, cfg, ids)
    ranks.wait()
    mine = ranks.share(ids)
    todo = [id for id in mine if not (folder / f"{id}.png").exists()]
    masks = _masks(predictor, split, todo)
    for id, mask in progress(masks, f"predict {split.name}", total=len(todo), visible=ranks.first):
        write_mask(folder / f"{id}.png", mask.numpy(), split.table.palette)
    ranks.wait()
    log.info(f"{folder}: {len(todo)} made, {len(mine) - len(todo)} were there")
    ranks.leave()
    return folder


def _masks(predictor: Predictor, split: Split, ids: list[str]) -> Iterator[tuple[str, Tensor]]:
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


def _source(cfg: DictConfig) -> tuple[DictConfig, Path]:
    """The configuration that says which network and data, and the folder of the masks."""
    if cfg.run is not None:
        run = RunFolder(Path(cfg.run))
        stored = load_run_config(run.root)
        if RunRecord.read(run.record).status != "finished":
            raise InputError(f"run: {run.root}: is not finished; continue it with the same command and resume=true")
        stored.paths.data = cfg.paths.data
        return stored, run.masks(cfg.split)
    name = Path(cfg.weights).stem
    return cfg, RunFolder(Path(cfg.paths.outputs) / cfg.dataset.name / "weights" / name).masks(cfg.split)


def _split(cfg: DictConfig, source: DictConfig) -> Split:
    run = None if cfg.run is None else RunFolder(Path(cfg.run))
    return open_split(source, cfg.split) if run is None else open_split_of_run(source, run, cfg.split)


def _predictor(cfg: DictConfig, source: DictConfig, split: Split, device: torch.device) -> Predictor:
    if "weights" in source.backbone:
        source.backbone.weights = None  # where training started from: all of it is in the run's own weights
    network = build_network(source, split.table)
    path = _weights(cfg)
    load_strictly(network, network_weights(path), path)
    if cfg.run is None:
        log.info(f"{path}: fits; it does not say its output stride, {network.backbone.output_stride} is taken")
    return Predictor(
        network=network.to(device).eval(),
        crf=build(cfg.crf),
        scales=_scales(cfg),
        flip=cfg.flip,
        minimum_probability=cfg.minimum_probability,
        device=device,
    )


def _weights(cfg: DictConfig) -> Path:
    return Path(cfg.weights) if cfg.run is None else RunFolder(Path(cfg.run)).last


def _scales(cfg: DictConfig) -> tuple[float, ...]:
    return tuple(cfg.dataset.test_scales if cfg.scales is None else cfg.scales)


def _refuse_mixture(folder: Path, cfg: DictConfig, ids: Sequence[str]) -> None:
    """Masks of one folder come from one checkpoint and one setting."""
    path = folder.parent / f"{folder.name}.json"
    weights = _weights(cfg)
    settings = {
        "weights_bytes": weights.stat().st_size if weights.exists() else 0,
        "weights_time": weights.stat().st_mtime if weights.exists() else 0,
        "scales": list(_scales(cfg)),
        "flip": cfg.flip,
        "minimum_probability": cfg.minimum_probability,
        "crf": {key: value for key, value in cfg.crf.items() if key != "workers"},
    }
    if path.exists() and read_json(path) != settings and not cfg.overwrite:
        raise InputError(f"{folder}: its masks were made with other settings ({path}); overwrite=true makes them anew")
    for id in ids if cfg.overwrite else ():
        (folder / f"{id}.png").unlink(missing_ok=True)  # before the settings change: a kill leaves no mixture
    write_json(path, settings)
