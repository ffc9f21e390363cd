"""`dhr.predict`: masks of a split, or of images of one's own, from a trained network, refined by a dense CRF."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from omegaconf import DictConfig

from dhr.config.parts import check_signatures
from dhr.disk.mask import encode_mask
from dhr.disk.output import Keep, Output
from dhr.runtime.ranks import Ranks
from dhr.stage.predict_images import predict_images
from dhr.stage.predictor import predictor_of, settings_of
from dhr.stage.source import Source

USUAL = "validation"  # the split that is predicted where none is named


def predict(cfg: DictConfig) -> Path:
    """Writes the masks of `cfg.images`, or else of `cfg.split`; those of the same settings are left alone.

    Returns:
        The folder of the masks.

    Raises:
        InputError: no such run, or its masks were made with other settings; or, when all others are made, images that
            cannot be read.
    """
    check_signatures(cfg)
    source = Source.of(cfg)
    if cfg.images is not None:
        return predict_images(cfg, source)
    name = USUAL if cfg.split is None else cfg.split
    split, ranks = source.split(name), Ranks.join()
    predictor = predictor_of(cfg, source, split.table, ranks.device)

    def make(todo: Sequence[str], keep: Keep) -> Iterator[str]:
        pictures = ((image_id, split.pixels(image_id), None) for image_id in todo)
        for image_id, mask in predictor.masks(pictures):
            keep(image_id, encode_mask(mask.numpy(), split.table.palette))
            yield image_id

    output = Output(
        folder=source.folder.masks(name),
        settings=settings_of(cfg, source, split.table),
        sources=lambda image_id: [split.layout.image(split.name, image_id)],
        elsewhere="a copy of the run" if source.is_run else "paths.outputs=<folder>",
    )
    output.fill(split.all_ids(), make, ranks, title=f"predict {split.name}", overwrite=cfg.overwrite)
    ranks.leave()
    return output.folder
