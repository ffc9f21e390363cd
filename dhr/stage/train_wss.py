"""`dhr.train_wss`: masks of the training images from their tags."""

import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from safetensors.torch import save
from torch import Tensor, nn

from dhr.config.parts import build, check_signatures, without_saw
from dhr.core.colour import normalise
from dhr.core.errors import InputError
from dhr.dataset.check import TrainingFiles
from dhr.dataset.datamodule import SegmentationData
from dhr.dataset.split import Split, TrainDataset
from dhr.dataset.transforms import TrainTransform
from dhr.disk.atomic import read_json, write_atomically, write_json
from dhr.disk.ledger import digest_of
from dhr.disk.lock import only_writer
from dhr.disk.mark import sha256_of
from dhr.disk.mask import encode_mask
from dhr.disk.output import Keep, Output, differing_keys
from dhr.disk.weights.state import load_strictly, read_weights
from dhr.runtime.ranks import Ranks
from dhr.stage.parts import open_split, trainer_of, wss_masks
from dhr.training.divergence import DIVERGED, naming_images
from dhr.training.fitting import Fitting, is_first_process
from dhr.wss.cam import TagClassifier, activation_maps, mask_of

RECIPE = "recipe.json"  # beside the masks: what they were made with
log = logging.getLogger("dhr.train_wss")


def train_wss(cfg: DictConfig) -> Path:
    """Trains the classifier, unless that is done, and writes the masks that are missing.

    Returns:
        The folder of the masks.

    Raises:
        InputError: this method has no recipe, or its masks were made with other settings.
    """
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # after its import, which sets it to INFO
    check_signatures(cfg)
    if cfg.wss.recipe is None:
        raise InputError(f"wss={cfg.wss.name}: these masks cannot be made here; put them into {cfg.wss.masks}")
    split = open_split(cfg, cfg.split or cfg.dataset.splits.train)
    folder = wss_masks(cfg, split.name).folder
    ids = split.all_ids()
    classifier = Classifier(folder.parent, _settings(cfg))
    crf, masks = build(cfg.crf), _output(cfg, split, folder, classifier.settings)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    model = TagClassifier(build(cfg.wss.recipe), num_tags=split.table.num_tags)
    if classifier.is_there(overwrite=cfg.overwrite):
        ranks = Ranks.join()
        log.info(f"{classifier.weights}: the classifier is there; overwrite=true trains it anew")
    else:
        # Of a classifier that is not trained yet, masks that are there cannot be.
        replace(masks, settings={"classifier": None}).refuse_mixture(ids, overwrite=cfg.overwrite)
        ranks = _train(cfg, model, _data(cfg), classifier)
        if ranks.first:
            classifier.conclude()
        ranks.wait()
    load_strictly(model, read_weights(classifier.weights), classifier.weights)
    masks = replace(masks, settings={"classifier": sha256_of(classifier.weights), **masks.settings})

    def make(todo: Sequence[str], keep: Keep) -> Iterator[str]:
        for id, mask in _masks(model.eval(), split, todo, crf=crf, device=ranks.device):
            keep(id, encode_mask(mask.numpy(), split.table.palette))
            yield id

    masks.fill(ids, make, ranks, title=f"masks {split.name}", overwrite=cfg.overwrite)
    ranks.leave()
    return folder


@dataclass(frozen=True)
class Classifier:
    """The classifier on disk, and the recipe beside it that says what it was trained with.

    Attributes:
        folder: where the two lie.
        settings: of the recipe that is asked for.
    """

    folder: Path
    settings: Mapping[str, object]

    @property
    def weights(self) -> Path:
        """Its weights."""
        return self.folder / "classifier.safetensors"

    @property
    def recipe(self) -> Path:
        """What it was trained with, and the digest of the weights that came of it."""
        return self.folder / RECIPE

    def is_there(self, *, overwrite: bool) -> bool:
        """Whether it need not be trained.

        Raises:
            InputError: what is there came of other settings, or nobody knows of which, and `overwrite` is false.
        """
        if overwrite or not self.weights.exists():
            return False
        cure = "overwrite=true trains it and makes its masks anew"
        if not self.recipe.exists():
            raise InputError(f"{self.weights}: does not say how it was trained (no {RECIPE}); {cure}")
        known = read_json(self.recipe)
        differing = differing_keys(known, {**self.settings, "weights": sha256_of(self.weights)})
        if differing == ["weights"]:
            raise InputError(f"{self.weights}: not the classifier that {self.recipe} tells of; {cure}")
        if differing:
            raise InputError(
                f"{self.weights}: was made with other settings ({', '.join(differing)} in {self.recipe}); {cure}"
            )
        return True

    @property
    def begun(self) -> Path:
        """Checkpoints of a training with these settings that is not done; one with others begins anew."""
        return self.folder / f".training-{digest_of(self.settings)[:8]}"

    def conclude(self) -> None:
        """Says of the weights, now that they are there, what they were trained with."""
        write_json(self.recipe, {**self.settings, "weights": sha256_of(self.weights)})
        for folder in self.folder.glob(".training-*"):
            shutil.rmtree(folder)  # all that is needed of it is in the weights


def _train(cfg: DictConfig, model: TagClassifier, data: SegmentationData, classifier: Classifier) -> Ranks:
    """Trains the classifier on the training split, or goes on with it; returns the rank of this process."""
    fitting = Fitting(trainer_of(cfg.trainer), classifier.begun, seed=cfg.seed, logger=False)
    data.share(fitting.processes)
    with only_writer(classifier.folder, wanted=is_first_process()):
        fitting.run(model, data)
        backbone: Any = model.backbone
        # For networks that start from this classifier, as others start from ImageNet: backbone.weights=<file>.
        _save(classifier.folder / "backbone.safetensors", backbone.layers)
        _save(classifier.weights, model)
    trainer = fitting.trainer
    ranks = Ranks(trainer.global_rank, trainer.world_size, trainer.strategy.root_device)
    ranks.wait()
    return ranks


@rank_zero_only
def _save(path: Path, part: nn.Module) -> None:
    write_atomically(path, save({name: value.contiguous() for name, value in part.state_dict().items()}))


def _data(cfg: DictConfig) -> SegmentationData:
    settings, split = cfg.dataset, open_split(cfg, cfg.dataset.splits.train)
    train = TrainDataset(
        split=split,
        indices=TrainingFiles(split, None, None).tagged(),
        wss_masks=None,
        features=None,
        grid=(1, 1),
        transform=TrainTransform(settings.crop_size, tuple(settings.long_side), settings.flip, tuple(settings.jitter)),
        seed=cfg.seed,
    )
    return SegmentationData(train=train, validation=None, batch_size=settings.batch_size, workers=settings.workers)


def _masks(
    model: TagClassifier, split: Split, ids: Sequence[str], *, crf: Any, device: torch.device
) -> Iterator[tuple[str, Tensor]]:
    """Masks in the order of `ids`; the CRFs of some images run while the network sees the next ones."""
    model.to(device)

    def refine(id: str, maps: Tensor, tags: Tensor, pixels: Tensor) -> Tensor:
        if not bool(tags.any()):
            # Nothing is said to be there: background, or not to be learnt from where there is none.
            return torch.full(pixels.shape[1:], 0 if split.table.has_background else 255, dtype=torch.uint8)
        with naming_images([id], DIVERGED):
            return mask_of(maps, tags, pixels, crf=crf, gamma=model.recipe.gamma, first_tag=split.table.first_tag)

    with ThreadPoolExecutor(max(crf.workers, 1)) as pool:
        for chunk in np.array_split(np.array(ids), max(-(-len(ids) // 16), 1)):
            jobs = []
            for id in chunk.tolist():
                pixels, tags = split.pixels(id), split.tags(id)
                maps = activation_maps(model, normalise(pixels).to(device), tags.to(device)).cpu()
                jobs.append((id, pool.submit(refine, id, maps, tags, pixels)))
            yield from ((id, job.result()) for id, job in jobs)


def _settings(cfg: DictConfig) -> dict[str, object]:
    """A classifier comes from one recipe, one seed, and crops of one data set that are cut in one way."""
    recipe = without_saw(cfg.wss.recipe)
    dataset: Any = OmegaConf.to_container(cfg.dataset, resolve=True)
    crops = {key: dataset[key] for key in ("name", "crop_size", "long_side", "batch_size", "jitter", "flip")}
    return {"seed": cfg.seed, "dataset": crops, "recipe": recipe, "precision": cfg.trainer.precision}


def _output(cfg: DictConfig, split: Split, folder: Path, settings: Mapping[str, object]) -> Output:
    """The masks of one folder come from one classifier and one CRF; each also from the tags of its image."""
    layout = split.layout
    return Output(
        folder=folder,
        settings={**settings, "crf": {key: value for key, value in cfg.crf.items() if key != "workers"}},
        sources=lambda id: [layout.image(split.name, id), layout.tags(split.name, id)],
        elsewhere="wss.masks=<folder>",
    )
