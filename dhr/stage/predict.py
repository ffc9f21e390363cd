"""`dhr.predict`: masks of a split from a trained network, refined by a dense CRF."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from omegaconf import DictConfig

from dhr.config.parts import build, check_signatures, without_saw
from dhr.disk.mark import sha256_of
from dhr.disk.mask import encode_mask
from dhr.disk.output import Keep, Output
from dhr.network.predictor import Predictor
from dhr.runtime.ranks import Ranks
from dhr.stage.source import Source

NETWORK = ("backbone", "decoder", "classifier")


def predict(cfg: DictConfig) -> Path:
    """Writes the masks of `cfg.split`; images that have a mask of the same settings are left alone.

    Returns:
        The folder of the masks.

    Raises:
        InputError: no such run, or its masks were made with other settings.
    """
    check_signatures(cfg)
    source = Source.of(cfg)
    split, ranks = source.split(cfg.split), Ranks.join()
    scales = tuple(cfg.dataset.test_scales if cfg.scales is None else cfg.scales)
    predictor = Predictor(
        network=source.network(split.table).to(ranks.device).eval(),
        crf=build(cfg.crf),
        scales=scales,
        flip=cfg.flip,
        minimum_probability=cfg.minimum_probability,
        device=ranks.device,
    )
    parts = {name: without_saw(source.settings[name]) for name in NETWORK}
    settings = {
        "weights": sha256_of(source.weights),
        **{name: {key: value for key, value in part.items() if key != "weights"} for name, part in parts.items()},
        "classes": list(split.table.names),
        "scales": list(scales),
        "flip": cfg.flip,
        "minimum_probability": cfg.minimum_probability,
        "crf": {key: value for key, value in cfg.crf.items() if key != "workers"},
    }

    def make(todo: Sequence[str], keep: Keep) -> Iterator[str]:
        pictures = ((image_id, split.pixels(image_id), None) for image_id in todo)
        for image_id, mask in predictor.masks(pictures):
            keep(image_id, encode_mask(mask.numpy(), split.table.palette))
            yield image_id

    output = Output(
        folder=source.folder.masks(cfg.split),
        settings=settings,
        sources=lambda image_id: [split.layout.image(split.name, image_id)],
        elsewhere="a copy of the run" if source.is_run else "paths.outputs=<folder>",
    )
    output.fill(split.all_ids(), make, ranks, title=f"predict {split.name}", overwrite=cfg.overwrite)
    ranks.leave()
    return output.folder
