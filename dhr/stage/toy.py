"""For generated data sets, training makes what is missing, so that the first command of a newcomer runs."""

import logging
from pathlib import Path

from omegaconf import DictConfig
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from dhr.dataset.prepare.preparer import prepare_toy
from dhr.disk.layout import DataLayout
from dhr.stage.extract_uss import extract_uss
from dhr.stage.parts import stored_features
from dhr.stage.prepare import generated

log = logging.getLogger("dhr.train")


@rank_zero_only
def make_missing(cfg: DictConfig) -> None:
    """Draws the scenes and extracts the features of a generated data set where they are missing, and logs it."""
    if cfg.dataset.generate is None:
        return
    data, split = Path(cfg.paths.data), cfg.dataset.splits.train
    if not DataLayout(data, cfg.dataset.folder).split(split).is_dir():
        log.info(f"dataset={cfg.dataset.name}: not there yet; drawing it, as python -m dhr.prepare does")
        prepare_toy(data, generated(cfg.dataset))
    store = stored_features(cfg, split)
    if store is not None and cfg.uss.extractor is not None and not store.folder.is_dir():
        log.info(f"uss={cfg.uss.name}: not there yet; extracting, as python -m dhr.extract_uss does")
        extract_uss(cfg)
