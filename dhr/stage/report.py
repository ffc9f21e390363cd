"""`dhr.report`: one page of scores, curves and pictures of a run."""

import logging
from pathlib import Path

from omegaconf import DictConfig

from dhr.config.stored import load_run_config
from dhr.core.words import of_split
from dhr.disk.layout import RunFolder, scores_beside
from dhr.page.explorer import predicted_ids
from dhr.page.figures import check_place, check_rows, write_figures
from dhr.page.report import Report
from dhr.page.runs import open_data

log = logging.getLogger("dhr.report")


def report(cfg: DictConfig) -> Path:
    """Writes the report of `cfg.run`, beside the runs of `cfg.compare`, and with `cfg.figures` its parts as files.

    Returns:
        The page.

    Raises:
        InputError: a folder is no run, a file in it is broken, or `cfg.rows` names an image that is not there.
    """
    run = Path(cfg.run)
    masks = load_run_config(run).wss.masks
    if cfg.figures is not None:
        check_place(Path(cfg.figures), overwrite=cfg.overwrite)
        _, _, known = predicted_ids(RunFolder(run), open_data(RunFolder(run), Path(cfg.paths.data)))
        check_rows(cfg.rows, known)
    read = Report.read(
        run,
        compare=[Path(folder) for folder in cfg.compare],
        wss_scores=given_scores(run),
        wss_masks=masks,
        data=Path(cfg.paths.data),
    )
    if cfg.figures is not None:
        written = write_figures(Path(cfg.figures), read, rows=cfg.rows)
        log.info(f"{cfg.figures}: {written} files")
    page = read.write()
    log.info(f"{read.summary()}\n{page}")
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
