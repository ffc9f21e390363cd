"""`dhr.ground`: masks of a split from an open-vocabulary model, to compare with."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from omegaconf import DictConfig

from dhr.config.parts import build, check_signatures
from dhr.config.provenance import OF_IMAGES, in_words, joined, letters_of
from dhr.dataset.split import Split
from dhr.disk.mask import encode_mask
from dhr.disk.output import Keep, Output
from dhr.grounder.interface import Grounder
from dhr.grounder.paint import mask_of
from dhr.runtime.ranks import Ranks
from dhr.stage.parts import open_split
from dhr.wss.grounded import tags_of, task_of

log = logging.getLogger("dhr.ground")


def ground(cfg: DictConfig) -> Path:
    """Writes the masks of `cfg.split` (the validation split if null); those of the same settings are left alone.

    Returns:
        The folder of the masks.

    Raises:
        InputError: weights or boxes are missing or wrong, or the folder holds masks of other settings.
    """
    check_signatures(cfg)
    split = open_split(cfg, cfg.split or cfg.dataset.splits.validation)
    grounder: Grounder = build(cfg.grounder)
    task, with_tags = task_of(split, "grounder"), cfg.prompts == "tags"
    finder, ranks = grounder.open(task), Ranks.join()
    saw = joined([letters_of(cfg.grounder), *([OF_IMAGES] if with_tags else [])])
    if ranks.first:
        log.info(f"{grounder.title}: its weights saw: {in_words(saw)}")

    def labels(image_id: str) -> list[int]:
        return tags_of(split, image_id) if with_tags else [*task.words]

    def make(todo: Sequence[str], keep: Keep) -> Iterator[str]:
        for image_id in todo:
            mask = mask_of(finder, task, image_id, split.pixels(image_id), labels(image_id), ranks.device)
            keep(image_id, encode_mask(mask.numpy(), split.table.palette))
            yield image_id

    def given(image_id: str) -> str:
        tags = ", ".join(task.names[label] for label in labels(image_id)) if with_tags else ""
        return "; ".join(part for part in (finder.given(image_id), tags) if part)

    output = Output(
        folder=_folder(cfg, grounder.title, split),
        settings={**finder.settings(), "prompts": cfg.prompts, "words": [*task.words.values()], "saw": saw},
        sources=lambda image_id: [split.layout.image(split.name, image_id)],
        elsewhere="output=<folder>",
        given=given,
    )
    output.fill(split.all_ids(), make, ranks, title=f"{grounder.title} {split.name}", overwrite=cfg.overwrite)
    ranks.leave()
    return output.folder


def _folder(cfg: DictConfig, title: str, split: Split) -> Path:
    """Where the masks lie: published ones have no folder of a split, so that they and ours do not meet."""
    if cfg.output is not None:
        return Path(cfg.output)
    method = f"{title}+{cfg.prompts}" if cfg.prompts != "classes" else title
    return Path(cfg.paths.data) / "OVSeg" / cfg.dataset.folder / method / split.name
