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
    from dhr.dataset.preparation import Generate, prepare

    if cfg.sbd is not None:
        raise InputError(f"sbd: {cfg.sbd}: its MATLAB files are not read; use aug=<folder SegmentationClassAug>")
    recipe = cfg.dataset.generate
    generate = recipe and Generate(
        splits={cfg.dataset.splits.train: recipe.train, cfg.dataset.splits.validation: recipe.validation},
        image_size=cfg.dataset.image_size,
        seed=recipe.seed,
    )
    prepared = prepare(
        cfg.dataset.name,
        Path(cfg.paths.data),
        source=_folder(cfg.source),
        aug=_folder(cfg.aug),
        transfer=cfg.transfer,
        generate=generate,
    )
    for line in prepared.lines():
        log.info(line)


def _folder(path: str | None) -> Path | None:
    return None if path is None else Path(path)


if __name__ == "__main__":
    main()
