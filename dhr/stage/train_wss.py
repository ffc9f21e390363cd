"""`dhr.train_wss`: masks of the training images from their tags."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from safetensors.torch import save
from torch import nn

from dhr.config.parts import build, check_signatures, without_saw
from dhr.core.errors import InputError
from dhr.dataset.check import TrainingFiles
from dhr.dataset.datamodule import SegmentationData
from dhr.dataset.split import TrainDataset
from dhr.dataset.transforms import TrainTransform
from dhr.disk.atomic import write_atomically
from dhr.disk.lock import only_writer
from dhr.disk.mark import sha256_of
from dhr.disk.mask import encode_mask
from dhr.disk.output import Keep, Output
from dhr.disk.weights.state import load_strictly, read_weights
from dhr.runtime.ranks import Ranks
from dhr.stage.parts import open_split, trainer_of, wss_masks
from dhr.training.fitting import Fitting, is_first_process
from dhr.wss.cam import TagClassifier, masks_of
from dhr.wss.classifier_file import ClassifierFile

log = logging.getLogger("dhr.train_wss")


def train_wss(cfg: DictConfig) -> Path:
    """Trains the classifier, unless it is trained already, and writes the masks that are missing.

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
    # A classifier comes from one recipe, one seed, and crops of one data set that are cut in one way.
    recipe = without_saw(cfg.wss.recipe)
    dataset: Any = OmegaConf.to_container(cfg.dataset, resolve=True)
    crops = {key: dataset[key] for key in ("name", "crop_size", "long_side", "batch_size", "jitter", "flip")}
    settings = {"seed": cfg.seed, "dataset": crops, "recipe": recipe, "precision": cfg.trainer.precision}
    classifier = ClassifierFile(folder.parent, settings)
    crf, layout = build(cfg.crf), split.layout
    masks = Output(  # all from one classifier and one CRF
        folder=folder,
        settings={**classifier.settings, "crf": {key: value for key, value in cfg.crf.items() if key != "workers"}},
        sources=lambda image_id: [layout.image(split.name, image_id), layout.tags(split.name, image_id)],
        elsewhere="wss.masks=<folder>",
    )
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    model = TagClassifier(build(cfg.wss.recipe), num_tags=split.table.num_tags)
    if classifier.is_there(overwrite=cfg.overwrite):
        ranks = Ranks.join()
        log.info(f"{classifier.weights}: the classifier is there; overwrite=true trains it anew")
    else:
        # Masks that exist cannot come from a classifier that is not trained yet.
        replace(masks, settings={"classifier": None}).refuse_mixture(ids, overwrite=cfg.overwrite)
        ranks = _train(cfg, model, classifier)
        if ranks.first:
            classifier.conclude()
        ranks.wait()
    load_strictly(model, read_weights(classifier.weights), classifier.weights)
    masks = replace(masks, settings={"classifier": sha256_of(classifier.weights), **masks.settings})

    def make(todo: Sequence[str], keep: Keep) -> Iterator[str]:
        for image_id, mask in masks_of(model.eval().to(ranks.device), split, todo, crf=crf):
            keep(image_id, encode_mask(mask.numpy(), split.table.palette))
            yield image_id

    masks.fill(ids, make, ranks, title=f"masks {split.name}", overwrite=cfg.overwrite)
    ranks.leave()
    return folder


def _train(cfg: DictConfig, model: TagClassifier, classifier: ClassifierFile) -> Ranks:
    """Trains the classifier on the training split, or continues its training; returns the processes that trained."""
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
    data = SegmentationData(train=train, validation=None, batch_size=settings.batch_size, workers=settings.workers)
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
