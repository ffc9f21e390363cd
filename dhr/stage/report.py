"""`dhr.report`: one page of scores, curves and pictures of a run."""

import logging
from pathlib import Path

from omegaconf import DictConfig

from dhr.config.stored import load_run_config
from dhr.core.words import of_split
from dhr.disk.layout import scores_beside
from dhr.page.report import summary, write_report

log = logging.getLogger("dhr.report")


def report(cfg: DictConfig) -> Path:
    """Writes the report of `cfg.run`, beside the runs of `cfg.compare`.

    Returns:
        The page.

    Raises:
        InputError: a folder is no run, or a file in it is broken.
    """
    run, compare = Path(cfg.run), [Path(folder) for folder in cfg.compare]
    given = given_scores(run)
    page = write_report(run, compare=compare, wss_scores=given, data=Path(cfg.paths.data))
    log.info(f"{summary(run, compare=compare, wss_scores=given)}\n{page}")
    return page


def given_scores(run: Path) -> Path | None:
    """The score file of the WSS masks that a run was trained on; None if they were not scored.

    Raises:
        InputError: the folder is not a run.
    """
    stored = load_run_config(run)
    split = stored.dataset.splits.train
    path = scores_beside(of_split(stored.wss.masks, split), split)
    return path if path.is_file() else None
