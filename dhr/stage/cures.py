"""What to do about masks that are missing or wrong, for messages; without torch, which the audit does not import."""

from collections.abc import Mapping
from typing import Any


def making_of_masks(dataset: str, wss: Mapping[str, Any]) -> str:
    """The command that makes the masks of a method."""
    return f"python -m dhr.train_wss dataset={dataset} wss={wss['name']}"


def cure_of_masks(dataset: str, wss: Mapping[str, Any], key: str = "wss") -> str:
    """How the masks of a method come to their folder.

    Args:
        dataset: name of its option.
        wss: of the configuration.
        key: where it stands there.
    """
    bring = f"put the masks of this method there, or set {key}.masks=<folder>"
    return bring if wss["recipe"] is None else f"run {making_of_masks(dataset, wss)}, or {bring}"
