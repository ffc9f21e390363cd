"""What the weights of a run saw before, as letters, and whose licence they have: numbers compare only among equals."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from dhr.core.errors import InputError
from dhr.core.ranges import Rule
from dhr.core.words import of_split
from dhr.disk.atomic import read_object
from dhr.disk.ledger import Ledger
from dhr.disk.weights.pixel_labels import ADMITTED

SAW = "saw"
LETTERS = {
    "I": "ImageNet labels",
    "S": "images without labels",
    "T": "images with texts",
    "M": "masks or pixel labels of others",
    "K": "known tags of the very images that are predicted",
}
OF_IMAGES = "K"
MEANINGS = ", ".join(f"{letter} ({meaning})" for letter, meaning in LETTERS.items())
Saw = Annotated[str, Rule(lambda text: text != "" and {*text} <= {*LETTERS}, f" of the letters {MEANINGS}")]
# By the model cards of their publishers on the hub. That of openai/clip-* names none; the MIT licence of openai/CLIP is
# of its code, and whether of the weights is an open question there (issue 203).
ON_HUB = {
    "google/siglip": "apache-2.0",
    "google/tipsv2": "apache-2.0",
    "IDEA-Research/grounding-dino-": "apache-2.0",
    "facebook/sam-vit-": "apache-2.0",
}
BROUGHT = ("weights", "boxes")  # arguments of parts that bring in what was learnt elsewhere
UNKNOWN = "?"  # nobody said
NOTHING = "nothing"


def provenance(cfg: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """The entries `saw` and `licences` of run.json, by a configuration of train.

    `saw` has the letters of the backbone, of the WSS masks, and, where labels are made with them, of the USS features;
    heads of USS models learn without labels, so they saw what their tokens saw. `licences` has those that timm or the
    publisher states for the names of the networks.
    """
    masks = cfg["wss"]
    parts = {"backbone": cfg["backbone"], "wss": _backbone_of(masks) or masks.get("recipe")}
    if cfg["rebalancing"]["rebalancer"] is not None:
        parts["uss"] = _model_of(cfg["uss"])
    saw = {name: letters_of(part) for name, part in parts.items()}
    saw["wss"] = letters_of_masks(masks, cfg["dataset"]["splits"]["train"])
    return {"saw": saw, "licences": {name: found for name, part in parts.items() if (found := licence_of(part))}}


def letters_of_masks(wss: Mapping[str, Any], split: str) -> str:
    """Letters of the WSS masks of a split.

    They are what the option or the user says; else what is written beside masks that were made here; else those of the
    publication, where nothing says that they were made here; else those of the backbone of the recipe.

    Raises:
        InputError: what is written beside them are no letters.
    """
    folder = of_split(wss["masks"], split)
    said = wss.get(SAW) or letters_beside(folder)
    if said is not None:
        return str(said)
    if wss.get("published") is not None:
        return UNKNOWN if Ledger(folder).settings.is_file() else str(wss["published"])
    return letters_of(_backbone_of(wss))


def letters_of_making(cfg: Mapping[str, Any], seen: Sequence[str]) -> str:
    """Letters of masks that are made now.

    Args:
        cfg: of train_wss.
        seen: what they are made from: "recipe" (its backbone), "backbone", "uss", "source"; empty: only the user knows.

    Raises:
        InputError: what is written beside the masks of the source are no letters.
    """
    wss = cfg["wss"]
    if wss.get(SAW) is not None or not seen:
        return str(wss.get(SAW) or UNKNOWN)
    parts = {"recipe": _backbone_of(wss), "backbone": cfg["backbone"], "uss": _model_of(cfg["uss"])}
    source, split = "source" in seen, cfg["dataset"]["splits"]["train"]
    found = [letters_of(parts[name]) for name in seen if name in parts]
    return joined([*found, *([letters_of_masks(wss["source"], split)] if source else [])])


def file_of_letters(folder: Path) -> Path:
    """Where it is written what masks saw, beside their folder."""
    return Ledger(folder).settings.with_suffix(f".{SAW}.json")


def letters_beside(folder: Path) -> str | None:
    """Letters that are written beside masks, None where none are.

    Raises:
        InputError: they are none.
    """
    path = file_of_letters(folder)
    if not path.is_file():
        return None
    said = read_object(path).get(SAW)
    if not isinstance(said, str) or (said != NOTHING and not {*said} <= {*LETTERS, UNKNOWN}):
        raise InputError(f"{path}: {SAW}: {said}: not what train_wss writes; run it again, or delete the file")
    return said


def _backbone_of(wss: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Of the recipe, or the model that stands for one; a method with neither stands on the one of its source."""
    recipes = [each.get("recipe") or {} for each in (wss, wss.get("source") or {})]
    models = [recipe.get("backbone") or recipe.get("grounder") for recipe in recipes]
    found: list[Mapping[str, Any]] = [model for model in models if model]
    return found[0] if found else None


def _model_of(uss: Mapping[str, Any]) -> Mapping[str, Any] | None:
    model: Mapping[str, Any] | None = uss.get("tokens") or uss["extractor"]
    return model


def letters_of(part: Mapping[str, Any] | None) -> str:
    """Letters of what the weights of a part saw, in the order of LETTERS; NOTHING without weights, UNKNOWN untold."""
    if part is None:
        return UNKNOWN
    brought, said = next((part[key] for key in BROUGHT if key in part), None), part.get(SAW)
    if brought in (None, "random"):
        return NOTHING
    if said is None:
        said = letters_of_made(Path(str(brought).removeprefix(ADMITTED)))
    admitted = "M" if str(brought).startswith(ADMITTED) else ""
    inner = part.get("segmenter")
    return joined([UNKNOWN if said is None else said, admitted, *([letters_of(inner)] if inner else [])])


def letters_of_made(weights: Path) -> str | None:
    """Letters of a network that train_wss left beside the masks that it made with it; None of any other file.

    Raises:
        InputError: what is written beside the masks are no letters.
    """
    ending = f".{SAW}.json"
    if not weights.is_file():
        return None
    beside = [path.with_name(path.name.removesuffix(ending)) for path in weights.parent.glob(f"*{ending}")]
    return joined(letters_beside(folder) or UNKNOWN for folder in beside) if beside else None


def joined(several: Iterable[str]) -> str:
    """Letters of several together."""
    found = {letter for each in several if each != NOTHING for letter in each}
    return "".join(letter for letter in (*LETTERS, UNKNOWN) if letter in found) or NOTHING


def in_words(letters: str) -> str:
    """Letters and what they stand for."""
    said = [f"{letter} {LETTERS.get(letter, 'not told')}" for letter in letters if letters != NOTHING]
    return ", ".join(said) or NOTHING


def licence_of(part: Mapping[str, Any] | None) -> str | None:
    """What timm or the publisher states for the weights of a name; None without weights, or where nothing is stated."""
    names = [str((part or {}).get(key)) for key in ("name", "weights")]
    published = [licence for start, licence in ON_HUB.items() if any(name.startswith(start) for name in names)]
    if published:
        return published[0]
    if part is None or part.get("weights") in (None, "random") or part.get("name") is None:
        return None
    import timm

    known = timm.get_pretrained_cfg(part["name"]) if timm.is_model(part["name"].partition(".")[0]) else None
    return None if known is None else known.license
