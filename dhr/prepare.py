"""`python -m dhr.prepare`: brings a data set into the layout that every other command reads."""

import logging
from pathlib import Path

from omegaconf import DictConfig

from dhr.config.command import verb
from dhr.errors import InputError

log = logging.getLogger("dhr.prepare")


@verb("prepare")
def main(cfg: DictConfig) -> None:
    """Prepares one data set."""
    # Imported here: --help, --cfg job and a wrong command must not wait for it.
    from dhr.artifacts import DataLayout
    from dhr.config.parts import build
    from dhr.dataset.classes import load_classes
    from dhr.dataset.preparation import Generate, Preparer, Sources, prepare_toy

    given = {key: cfg[key] and Path(cfg[key]) for key in ("source", "sbd", "aug")}
    sources = Sources(**given, class_order=cfg.class_order)
    if cfg.dataset.generate is None:
        prepared = Preparer(
            name=cfg.dataset.name,
            layout=DataLayout(Path(cfg.paths.data), cfg.dataset.folder),
            table=load_classes(cfg.dataset.classes),
            download=cfg.dataset.download and build(cfg.dataset.download),
            transfer=cfg.transfer,
            workers=cfg.workers,
            limit=cfg.limit,
        )(sources)
    else:
        if sources != Sources():
            raise InputError(f"source: {cfg.source}: dataset={cfg.dataset.name} is drawn, not downloaded; leave it out")
        if cfg.limit is not None:
            raise InputError(
                f"limit: {cfg.limit}: dataset={cfg.dataset.name} is drawn, not downloaded; use "
                f"dataset.generate.train={cfg.limit}"
            )
        prepared = prepare_toy(Path(cfg.paths.data), Generate.of(cfg.dataset))
    for line in prepared.lines():
        log.info(line)


if __name__ == "__main__":
    main()
