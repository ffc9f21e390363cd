"""Parts that several stages build from the configuration."""

import re
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import DictConfig

from dhr.config.parts import build
from dhr.core.errors import InputError
from dhr.core.words import of_split
from dhr.dataset.classes import ClassTable, classes_of
from dhr.dataset.colours import MaskColours
from dhr.dataset.split import MaskFolder, Split
from dhr.disk.feature_store import FeatureStore
from dhr.disk.layout import DataLayout, RunFolder
from dhr.disk.run_record import RunRecord
from dhr.network.memory_order import laid_out
from dhr.network.segmentation import SegmentationNetwork
from dhr.stage.cures import cure_of_masks
from dhr.training.features import Features

if TYPE_CHECKING:  # Lightning takes seconds to import, and only trainings need it
    import pytorch_lightning as pl
    from pytorch_lightning.callbacks import Callback

    from dhr.training.fitting import MakeTrainer

REFUSED_SWITCHES = {  # of Lightning's, and what to use instead
    "overfit_batches": "trainer.limit_train_batches and trainer.limit_val_batches",
    "use_distributed_sampler": "trainer=ddp alone, crops are shared out already",
    "reload_dataloaders_every_n_epochs": "the loaders as they are, every epoch has an order of its own",
}


def open_split(cfg: DictConfig, split: str) -> Split:
    """A split of the configured data set.

    Raises:
        InputError: it is not on disk.
    """
    layout = DataLayout(Path(cfg.paths.data), cfg.dataset.folder)
    return Split.open(layout, split, classes_of(layout.home, cfg.dataset.classes))


def open_validation(cfg: DictConfig) -> Split:
    """The split to validate on; a split without images if it is called `validation` and is not on disk.

    A split of any other name was chosen by the user, so it has to exist.

    Raises:
        InputError: it is not on disk.
    """
    layout, name = DataLayout(Path(cfg.paths.data), cfg.dataset.folder), cfg.dataset.splits.validation
    if name != "validation" or layout.split(name).exists():
        return open_split(cfg, name)
    return Split(layout, name, classes_of(layout.home, cfg.dataset.classes), np.zeros(0, np.bytes_))


def open_split_of_run(cfg: DictConfig, run: RunFolder, split: str) -> Split:
    """A split of the data set that a run learnt from.

    Args:
        cfg: as stored in the run, with the current paths.data.
        run: folder of the run.
        split: name.

    Raises:
        InputError: it is not on disk, or its labels mean other classes than those that the run learnt.
    """
    opened, learnt = open_split(cfg, split), RunRecord.read(run.record).classes
    if learnt is not None:
        refuse_other_classes(opened, learnt, run.root)
    return opened


def refuse_other_classes(split: Split, learnt: Sequence[str], source: Path) -> None:
    """Makes sure that the labels of a split mean what a network learnt.

    Raises:
        InputError: names the first label that does not; `source` is the run or the file of the network.
    """
    for label, (name, learnt_name) in enumerate(zip_longest(split.table.names, learnt, fillvalue="no class")):
        if name != learnt_name:
            raise InputError(
                f"{split.layout.home}: label {label} is {name}: in {source} it is {learnt_name}; "
                "point paths.data to data of the class order that it was trained with"
            )


def wss_masks(cfg: DictConfig, split: str, node: DictConfig | None = None) -> MaskFolder:
    """Folder of the configured WSS masks for a split, or of those of another node of their kind, `wss.source`."""
    key, wss = ("wss", cfg.wss) if node is None else ("wss.source", node)
    table = classes_of(Path(cfg.paths.data) / cfg.dataset.folder, cfg.dataset.classes)
    cure = cure_of_masks(cfg.dataset.name, wss, key)
    return MaskFolder(of_split(wss.masks, split), table.num_classes, cure, colours=MaskColours.of(table))


def feature_store(cfg: DictConfig, split: str) -> FeatureStore:
    """Store of the configured USS features for a split."""
    cure = f"run python -m dhr.extract_uss dataset={cfg.dataset.name} uss={cfg.uss.name} split={split}"
    if cfg.uss.weights is not None:
        cure += ", or put the released feature files of this model there"
    if cfg.uss.extractor is None:
        cure = "put the released feature files of this model there, or set uss.store=<folder>"
    return FeatureStore(of_split(cfg.uss.store, split), cure, cfg.uss.form)


def stored_features(cfg: DictConfig, split: str) -> FeatureStore | None:
    """Store that a training reads USS features from; None if it needs no features or computes them itself."""
    if cfg.rebalancing.rebalancer is None:
        return None
    source: Features = build(cfg.features)
    return source.store(feature_store(cfg, split))


def build_backbone(node: DictConfig, *, trained: bool = False, place: str = "backbone") -> Any:
    """A backbone.

    Args:
        node: of the `backbone` group.
        trained: learnt weights will come over all that it begins with, so none are fetched or read.
        place: where its keys are set, for messages.

    Raises:
        InputError: it refuses a value, or its weights cannot be had.
    """
    start: dict[str, Any] = {"weights": None} if trained and "weights" in node else {}
    try:
        return laid_out(build(node, **start))
    except InputError as error:
        keys = "|".join(map(re.escape, node))
        raise InputError(re.sub(rf"(?<![\w.])backbone\.(?=(?:{keys})\b)", f"{place}.", str(error))) from error


def build_network(cfg: DictConfig, table: ClassTable, *, trained: bool = False) -> SegmentationNetwork:
    """The network of a run: backbone, decoder and classifier for the classes of `table`; see `build_backbone`."""
    backbone = build_backbone(cfg.backbone, trained=trained)
    decoder = build(
        cfg.decoder,
        backbone_channels=backbone.channels,
        output_stride=backbone.output_stride,
        num_classes=table.num_classes,
    )
    classifier = build(cfg.classifier, in_channels=backbone.channels[3], num_tags=table.num_tags)
    return laid_out(SegmentationNetwork(backbone, decoder, classifier), cfg.get("channels_last"))


def trainer_of(node: DictConfig) -> "MakeTrainer":
    """A function that makes trainers with the options of `node`.

    Raises:
        InputError: an option is set that would change which crops a training sees, or their order.
    """
    from dhr.training.bars import progress_bar

    for key, instead in REFUSED_SWITCHES.items():
        if node.get(key):
            raise InputError(f"trainer.{key}: {node[key]}: not offered; use {instead}")
    bars = [] if node.get("enable_progress_bar") is False else [progress_bar()]

    def make(*, callbacks: "Sequence[Callback]", **options: Any) -> "pl.Trainer":
        trainer: pl.Trainer = build(node, callbacks=[*callbacks, *bars], **options)
        return trainer

    return make
