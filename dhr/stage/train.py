"""`dhr.train`: from a checked configuration to a run folder."""

import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from dhr.config.parts import build, check_signatures
from dhr.config.stored import stored_text
from dhr.core.errors import InputError
from dhr.core.words import word
from dhr.dataset.check import TrainingFiles, scored_ids
from dhr.dataset.datamodule import SegmentationData
from dhr.dataset.split import PictureDataset, TrainDataset
from dhr.dataset.transforms import TrainTransform
from dhr.disk.atomic import update_record, write_atomically
from dhr.disk.layout import RunFolder
from dhr.disk.lock import only_writer
from dhr.disk.run_record import RunRecord
from dhr.disk.writing import remove_orphans
from dhr.evaluation.feature_pictures import probes_beside
from dhr.stage.parts import build_network, open_split, open_validation, stored_features, trainer_of, wss_masks
from dhr.stage.run_folder import data_mark, describe, recorded, refuse_unasked
from dhr.stage.toy import make_missing
from dhr.training.average import EmaAverage
from dhr.training.callbacks import LabelWatch
from dhr.training.curves import join_metrics
from dhr.training.dashboard import dashboards
from dhr.training.divergence import StopOnNonFiniteLoss
from dhr.training.features import Features
from dhr.training.fitting import Fitting, is_first_process
from dhr.training.label_maker import GivenMasks, Labeller
from dhr.training.loggers import make_loggers
from dhr.training.module import SegmentationModule
from dhr.training.refresh import LabelPlan, Refresh
from dhr.training.whole_images import WholeImages

WATCHED = 8  # training images whose labels are shown and scored
log = logging.getLogger("dhr.train")


def train(cfg: DictConfig) -> Path:
    """Trains one run, or continues it.

    Returns:
        The run folder.

    Raises:
        InputError: the data is not as it must be, or the run folder is another run's or another process's.
        Stopped: a signal came; the checkpoint is of the last step.
    """
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # after its import, which sets it to INFO
    check_signatures(cfg)
    if cfg.trainer.get("fast_dev_run"):
        # A few batches go through everything, in a folder that is not kept: Lightning saves no checkpoint of them.
        with TemporaryDirectory() as folder:
            run = RunFolder(Path(folder) / str(cfg.name))
            _train(cfg, run)
            log.info(f"trainer.fast_dev_run: {cfg.trainer.fast_dev_run}: all parts work together; nothing was kept")
            return run.root
    run = RunFolder(Path(cfg.paths.outputs) / cfg.dataset.name / "runs" / cfg.name)
    with only_writer(run.root, wanted=is_first_process()):
        _refuse_other_run(run, cfg)
        if cfg.resume and run.is_finished:
            log.info(f"{run.root}: finished already")
            return run.root
        _train(cfg, run)
    log.info(f"{run.root}: finished; next: python -m dhr.predict {word('run', run.root)}")
    return run.root


def _train(cfg: DictConfig, run: RunFolder) -> None:
    make_missing(cfg)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    data = open_data(cfg)
    table, optimizer = data.train.split.table, build(cfg.optimizer)
    average = EmaAverage(optimizer.ema_decay)
    labeller: Labeller | None = None
    if cfg.rebalancing.rebalancer is not None:
        crf = build(cfg.crf)
        relabel = build(cfg.rebalancing.rebalancer, first_tag=table.first_tag, crf=crf)
        features: Features = build(cfg.features)
        complete = features.complete(lambda: build(cfg.uss.extractor), stride=cfg.uss.stride)
        labeller = Labeller(build(cfg.label_maker), relabel, average, complete, threads=max(crf.workers, 1))
    probes = probes_beside(cfg.uss.weights)
    watched = _whole(cfg, data.train, WATCHED)
    if data.validation is not None:  # else `LabelWatch` never opens them
        watched.look_at_truth()
    watch = LabelWatch(watched, labeller=labeller, average=average, folder=run.gallery, probes=probes)
    plan = LabelPlan(GivenMasks(), data.train)
    if labeller is not None:
        refresh: Refresh = build(cfg.refresh)
        plan = refresh.plan(labeller, cfg.rebalancing.start_epoch, data.train, _whole(cfg, data.train), run.root)
    data.train = plan.train
    network = build_network(cfg, table, trained=run.last.exists())
    module = SegmentationModule(network, labels=plan.labels, optimizer=optimizer, table=table)
    options: dict[str, Any] = dict(cfg.logger)
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    loggers = [] if cfg.trainer.get("fast_dev_run") else make_loggers(run, config, **options)
    fitting = Fitting(
        trainer_of(cfg.trainer),
        run.checkpoints,
        seed=cfg.seed,
        callbacks=[*plan.callbacks, watch, *dashboards(loggers, watch, data.validation), StopOnNonFiniteLoss(run)],
        average=average,
        logger=loggers,
    )
    data.share(fitting.processes)
    _open_folder(run, cfg, data.train)
    with recorded(run):
        fitting.run(module, data)
    if is_first_process():
        join_metrics(run.metrics)
        steps, device = fitting.trainer.global_step, str(fitting.trainer.strategy.root_device)
        update_record(run.record, {"steps": steps, "device": device, "status": "finished"})


def open_data(cfg: DictConfig) -> SegmentationData:
    """The data of a run, after every file of it was opened once; human masks are for scoring only and may be absent.

    Raises:
        InputError: a file is missing or broken, or some of the human masks to validate on are missing.
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
    pictures: PictureDataset | None = None
    if cfg.trainer.get("limit_val_batches") != 0:
        validation = open_validation(cfg)
        ids = scored_ids(validation)
        if ids:
            pictures = PictureDataset(validation, ids, with_truth=True)
        elif is_first_process():
            log.info(f"{validation.truths.folder}: no human masks, so the training is not validated")
    batch_size, workers = settings.batch_size, settings.workers
    return SegmentationData(train=train, validation=pictures, batch_size=batch_size, workers=workers)


def _whole(cfg: DictConfig, train: TrainDataset, most: int | None = None) -> WholeImages:
    return WholeImages.of(train, wss_masks(cfg, train.split.name), stride=cfg.uss.stride, most=most)


@rank_zero_only
def _refuse_other_run(run: RunFolder, cfg: DictConfig) -> None:
    """Refuses a folder that this training must not write to; only the first process, which makes the folder, checks.

    Raises:
        InputError: the folder holds a run and `resume` does not ask to continue it, its settings are others, or
            resume=true and there is no run to continue.
    """
    cure = f"name={cfg.name}: {run.root} holds a run; continue it with resume=true or choose another name"
    refuse_unasked(run, cfg, "run", cure)


@rank_zero_only
def _open_folder(run: RunFolder, cfg: DictConfig, train: TrainDataset) -> None:
    """Writes the configuration and the record of a run that begins or is continued.

    Raises:
        InputError: the manifest of the data changed since the run began.
    """
    data = data_mark(train.split)
    recorded_data = RunRecord.read(run.record).entries.get("data", data) if run.record.exists() else data
    if recorded_data != data:
        raise InputError(
            f"resume={cfg.resume}: {train.split.layout.split(train.split.name)}: not the data that {run.root} began "
            "with (its manifest differs); restore them, or choose another name"
        )
    for folder in (run.root, run.gallery):
        remove_orphans(folder)
    write_atomically(run.config, stored_text(cfg).encode())
    update_record(run.record, {**describe(cfg, train.split.table), "data": data, "status": "running"})
