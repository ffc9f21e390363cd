"""What a file that `dhr.export` wrote says of its network, checked: it may have been made elsewhere, or edited."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Le, MaxLen, MinLen
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open

from dhr.config.check import check
from dhr.config.kinds import Part, Section
from dhr.config.schema import Dataset
from dhr.core.errors import InputError
from dhr.core.ranges import Name
from dhr.disk.weights.hub import PROGRAM
from dhr.disk.weights.onnx_file import onnx_texts

KEY = "dhr"  # of the metadata; its value is JSON
LONGEST = 1_000_000  # letters; ours have some thousand
Byte = Annotated[int, Ge(0), Le(255)]
Colour = tuple[Byte, Byte, Byte]


class NetworkSettings(Section):
    """What an exported file says of its network, and of the data set that it knows."""

    dataset: Dataset
    backbone: Part
    decoder: Part
    classifier: Part
    crf: Part


class Classes(Section):
    """What the labels mean."""

    table: Name
    names: Annotated[tuple[str, ...], MinLen(1), MaxLen(255)]
    palette: tuple[Colour, ...]
    has_background: bool


@dataclass(frozen=True)
class Stated:
    """The description of an exported network.

    Attributes:
        settings: of data set, network and CRF, by their groups.
        choices: the option of every group that was chosen.
        classes: in the order of the labels.
        entries: all of it, provenance included.
    """

    settings: Mapping[str, Any]
    choices: Mapping[str, str]
    classes: Classes
    entries: Mapping[str, Any]


def stated(path: Path) -> Stated | None:
    """What a file of weights says of its network; None where it says nothing, as weights of other programs.

    Raises:
        InputError: it says something else than our exports do.
    """
    text = metadata(path).get(KEY)
    if text is None:
        return None
    try:
        entries: Any = json.loads(text) if len(text) <= LONGEST and "${" not in text else None
        classes = Classes.model_validate_json(json.dumps(entries["classes"]))
        settings, choices = entries["settings"], entries["choices"]
    except (ValueError, TypeError, KeyError, RecursionError, ValidationError):
        raise InputError(f"{path}: its description is not one that dhr.export writes; export the run anew") from None
    if not isinstance(settings, dict) or not isinstance(choices, dict):
        raise InputError(f"{path}: its description has no settings; export the run anew")
    if len(classes.names) != len(classes.palette):
        counts = f"{len(classes.names)} names and {len(classes.palette)} colours"
        raise InputError(f"{path}: classes: {counts}: one of each is due for every class; export the run anew")
    try:
        return Stated(check(settings, NetworkSettings), choices, classes, entries)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def metadata(path: Path) -> dict[str, str]:
    """The texts beside the tensors of a safetensors file, or beside the graph of an ONNX file; torch is not needed."""
    if path.suffix == PROGRAM and path.is_file():
        return onnx_texts(path)
    if path.suffix == ".safetensors" and path.is_file():
        try:
            with safe_open(path, "np") as file:
                return dict(file.metadata() or {})
        except (SafetensorError, OSError) as error:
            raise InputError(f"{path}: no whole weights ({error}); make them anew") from None
    return {}
