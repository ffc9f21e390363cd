"""`dhr.train`: from a checked configuration to a run folder."""

import logging
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from dhr.artifacts import RunFolder, read_json, update_record, write_atomically
from dhr.building import build_network, open_split, stored_features, wss_masks
from dhr.config.parts import build
from dhr.config.stored import refuse_other_settings, stored_text
from dhr.dataset.check import TrainingFiles, check_pictures
from dhr.dataset.classes import ClassTable
from dhr.dataset.datamodule import SegmentationData
from dhr.dataset.reader import PictureDataset, TrainDataset
from dhr.dataset.transforms import TrainTransform
from dhr.errors import InputError
from dhr.training.average import EmaAverage
from dhr.training.bars import progress_bar
from dhr.training.callbacks import LabelWatch
from dhr.training.checkpoint import AtomicCheckpointIO
from dhr.training.features import Features
from dhr.training.label_maker import GivenMasks, Labeller
from dhr.training.loggers import join_metrics, make_loggers
from dhr.training.module import SegmentationModule
from dhr.training.nonsense import StopAtNonsense
from dhr.training.record import describe
from dhr.training.refresh import Plan, Refresh
from dhr.training.toy_stages import make_missing
from dhr.training.whole_images import WholeImages
from dhr.uss.picture import probes_beside
from dhr.weights import read_checkpoint

WATCHED = 8  # training images whose labels are shown and scored
log = logging.getLogger("dhr.train")


def train(cfg: DictConfig) -> Path:
    """Trains one run, or continues it.

    Returns:
        The run folder.

    Raises:
        InputError: the data is not as it must be, or the run folder is another run's.
    """
    run = RunFolder(Path(cfg.paths.outputs) / cfg.dataset.name / "runs" / cfg.name)
    _refuse_other_run(run, cfg)
    if cfg.resume and run.is_finished:
        log.info(f"{run.root}: finished already")
        return run.root
    make_missing(cfg)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    data = open_data(cfg)
    table, optimizer = data.train.split.table, build(cfg.optimizer)
    average = EmaAverage(optimizer.ema_decay)
    labeller = _labeller(cfg, table, average)
    probes = probes_beside(cfg.uss.weights)
    watch = LabelWatch(_whole(cfg, data.train, WATCHED), labeller=labeller, folder=run.gallery, probes=probes)
    plan = _plan(cfg, run, data.train, labeller)
    data.train = plan.train
    order = torch.channels_last if cfg.channels_last else torch.contiguous_format
    network = build_network(cfg, table).to(memory_format=order)
    module = SegmentationModule(network, labels=plan.labels, optimizer=optimizer, table=table)
    trainer = _trainer(cfg, run, [average, *plan.callbacks, watch])
    data.refuse_too_few(ranks=trainer.num_devices * trainer.num_nodes)
    _open_folder(run, cfg, table)
    _fit(run, trainer, module, data)
    return run.root


def open_data(cfg: DictConfig) -> SegmentationData:
    """The data of a run, after a look at every file of it.

    Raises:
        InputError: a file is missing or broken.
    """
    settings, split = cfg.dataset, open_split(cfg, cfg.dataset.splits.train)
    masks = wss_masks(cfg, split.name)
    features = stored_features(cfg, split.name)
    cells = settings.crop_size // cfg.uss.stride
    train = TrainDataset(
        split=split,
        indices=TrainingFiles(split, masks, features).tagged(),
        wss_masks=masks,
        features=features,
        grid=(cells, cells),
        transform=TrainTransform(settings.crop_size, tuple(settings.long_side), settings.flip, tuple(settings.jitter)),
        seed=cfg.seed,
    )
    validation = open_split(cfg, settings.splits.validation)
    pictures = PictureDataset(validation, validation.layout.ids(validation.name), with_truth=True)
    data = SegmentationData(train=train, validation=pictures, batch_size=settings.batch_size, workers=settings.workers)
    check_pictures(pictures)
    return data


def _labeller(cfg: DictConfig, table: ClassTable, average: EmaAverage) -> Labeller | None:
    if cfg.rebalancing.rebalancer is None:
        return None
    crf = build(cfg.crf)
    relabel = build(cfg.rebalancing.rebalancer, first_tag=table.first_tag, crf=crf)
    source: Features = build(cfg.features)
    complete = source.complete(lambda: build(cfg.uss.extractor), stride=cfg.uss.stride)
    threads = max(getattr(crf, "workers", 1), 1)
    return Labeller(build(cfg.label_maker), relabel, average, complete, threads=threads)


def _plan(cfg: DictConfig, run: RunFolder, train: TrainDataset, labeller: Labeller | None) -> Plan:
    if labeller is None:
        return Plan(GivenMasks(), train)
    refresh: Refresh = build(cfg.refresh)
    return refresh.plan(labeller, cfg.rebalancing.start_epoch, train, _whole(cfg, train), run.root)


def _whole(cfg: DictConfig, train: TrainDataset, most: int | None = None) -> WholeImages:
    return WholeImages.of(train, wss_masks(cfg, train.split.name), stride=cfg.uss.stride, most=most)


@rank_zero_only
def _refuse_other_run(run: RunFolder, cfg: DictConfig) -> None:
    """Only the first process asks: the others find the folder that it has just made.

    Raises:
        InputError: the folder holds a run and nobody asked to continue it, or its settings are others.
    """
    if not run.record.exists():
        return
    if not cfg.resume:
        raise InputError(
            f"name={cfg.name}: {run.root} holds a run; continue it with resume=true or choose another name"
        )
    refuse_other_settings(run, cfg)


@rank_zero_only
def _open_folder(run: RunFolder, cfg: DictConfig, table: ClassTable) -> None:
    write_atomically(run.config, stored_text(cfg).encode())
    update_record(run.record, {**describe(cfg, table), "status": "running"})


def _trainer(cfg: DictConfig, run: RunFolder, callbacks: list[Callback]) -> pl.Trainer:
    options: dict[str, Any] = dict(cfg.logger)
    checkpoint = ModelCheckpoint(run.checkpoints, filename="last", enable_version_counter=False)
    trainer: pl.Trainer = build(
        cfg.trainer,
        default_root_dir=str(run.root),
        logger=make_loggers(run, **options),
        callbacks=[*callbacks, StopAtNonsense(run), checkpoint, progress_bar()],
        plugins=[AtomicCheckpointIO()],
    )
    return trainer


def _fit(run: RunFolder, trainer: pl.Trainer, module: SegmentationModule, data: SegmentationData) -> None:
    last = run.checkpoints / "last.ckpt"
    if last.exists():
        read_checkpoint(last)  # says what is wrong with it before Lightning stumbles over it
    start = time.monotonic()
    trainer.fit(module, data, ckpt_path=last if last.exists() else None, weights_only=True)
    if trainer.is_global_zero:
        join_metrics(run.metrics)
        before = float(read_json(run.record).get("seconds", 0.0))
        done = {"steps": trainer.global_step, "seconds": before + time.monotonic() - start, "status": "finished"}
        update_record(run.record, {**done, "device": str(trainer.strategy.root_device)})
        log.info(f"{run.root}: {trainer.global_step} steps; next: python -m dhr.predict run={run.root}")
