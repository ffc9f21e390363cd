"""Starting weights that saw pixel labels: a number that rests on them is not a weakly supervised one."""

from collections.abc import Iterable
from pathlib import Path

from dhr.core.errors import InputError
from dhr.core.words import open_home, word

ADMITTED = "pixels:"  # backbone.weights=pixels:<file> says it, and so do the run's configuration, record and report
NAMES = ("mask2former", "maskformer", "oneformer", "eomt")  # as in facebook/mask2former-swin-large-ade-semantic
HEADS = frozenset(  # parts of networks that are trained on pixel labels, in the names of their weights
    {
        *("class_predictor", "mask_embedder", "pixel_level_module", "sem_seg_head", "decode_head", "auxiliary_head"),
        *("class_head", "mask_head", "upscale_block"),
    }
)


def parse_start(weights: str) -> tuple[Path, bool]:
    """Splits a value of `backbone.weights` into the file, and whether pixel labels are admitted for it."""
    return Path(open_home(weights.removeprefix(ADMITTED))), weights.startswith(ADMITTED)


def refuse_pixel_labels(path: Path, names: Iterable[str]) -> None:
    """Refuses weights that give away that they were trained on pixel labels; what does not show cannot be refused.

    Args:
        path: of the file.
        names: of its weights.

    Raises:
        InputError: the file is named after such a model, or the weights hold a segmentation head.
    """
    models = [model for model in NAMES if model in path.name.lower()]
    heads = sorted(name for name in names if HEADS & set(name.split(".")))
    if models or heads:
        reason = f"its name says {models[0]}" if models else f"it holds a segmentation head ({heads[0]})"
        raise InputError(
            f"backbone.weights={path}: {reason}, so these weights saw pixel labels, and what starts from them is not "
            f"weakly supervised; start from imagenet, or admit it with {word('backbone.weights', f'{ADMITTED}{path}')}"
        )
