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
    from dhr.evaluation.report import given_scores, summary, write_report

    run, compare = Path(cfg.run), [Path(each) for each in cfg.compare]
    given = given_scores(run)
    path = write_report(run, compare=compare, wss_scores=given)
    log.info(f"{summary(run, compare=compare, wss_scores=given)}\n{path}")


if __name__ == "__main__":
    main()
