"""What the weights of a run saw before, as letters, and whose licence they have: numbers compare only among equals."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from dhr.core.ranges import Rule
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
ON_HUB = {  # of their publishers
    "openai/clip-": "mit",
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
    masks, source = cfg["wss"], cfg["wss"].get("source") or {}
    recipe = masks.get("recipe") or {}
    # A method without a backbone of its own stands on the one of its source.
    behind = recipe.get("backbone") or recipe.get("grounder") or (source.get("recipe") or {}).get("backbone")
    parts = {"backbone": cfg["backbone"], "wss": behind}
    if cfg["rebalancing"]["rebalancer"] is not None:
        parts["uss"] = cfg["uss"].get("tokens") or cfg["uss"]["extractor"]
    saw = {name: letters_of(part) for name, part in parts.items()}
    saw |= {} if masks.get(SAW) is None else {"wss": masks[SAW]}
    named = {**parts, "wss": behind or recipe}
    return {"saw": saw, "licences": {name: found for name, part in named.items() if (found := licence_of(part))}}


def letters_of(part: Mapping[str, Any] | None) -> str:
    """Letters of what the weights of a part saw, in the order of LETTERS; NOTHING without weights, UNKNOWN untold."""
    if part is None:
        return UNKNOWN
    brought, said = next((part[key] for key in BROUGHT if key in part), None), part.get(SAW)
    if brought in (None, "random"):
        return NOTHING
    admitted = "M" if str(brought).startswith(ADMITTED) else ""
    inner = part.get("segmenter")
    return joined([UNKNOWN if said is None else said, admitted, *([letters_of(inner)] if inner else [])])


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
