"""`python -m dhr.report`: one page of scores, curves and pictures of a run."""

import logging
from pathlib import Path

from omegaconf import DictConfig

from dhr.config.command import verb

log = logging.getLogger("dhr.report")


@verb("report")
def main(cfg: DictConfig) -> None:
    """Writes the report of one run."""
    # Imported here: --help, --cfg job and a wrong command must not wait for the plots.
    from dhr.evaluation.report import write_report

    log.info(str(write_report(Path(cfg.run), compare=[Path(run) for run in cfg.compare])))


if __name__ == "__main__":
    main()
