"""Rules of `dhr.prepare` for images of the user's own, and what their data set may be called."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dhr.config.tree import config_folder, options
from dhr.core.errors import InputError
from dhr.core.labels import OWN
from dhr.core.words import LARGEST_SHARE, as_share

FORM = "folder"  # name and folder of dataset=folder and dataset=folder_paper, which are no data sets themselves
KEYS = ("images", "tags", "masks", "classes", "validation")  # of prepare, about images of the user's own
OF_DOWNLOADS = ("source", "sbd", "aug", "class_order")
CALLED = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")  # else Hydra reads a number behind dataset=
TAKEN = {"wss", "configs", "null", "true", "false", "nan", "inf"}  # folders of the data, and words of Hydra's grammar
FOLDER_KEY = re.compile(r"^folder: (\S+)", re.MULTILINE)


def check_own_images(values: Mapping[str, Any]) -> None:
    """Checks what was given to prepare images of the user's own, or that nothing of it was given for a download.

    Raises:
        InputError: keys that exclude or need each other, no such folder, or a name that cannot be used.
    """
    dataset = values["dataset"]
    is_own, is_form = dataset["classes"] == OWN, dataset["name"] == dataset["folder"] == FORM
    given = next((key for key in (OF_DOWNLOADS if is_own else KEYS) if values[key] is not None), None)
    if given is not None:
        cure = "use images=<folder> tags=<file>" if is_own else "for images of your own use dataset=folder name=<yours>"
        raise InputError(f"{given}: {values[given]}: dataset={dataset['name']} has no use for it; {cure}")
    if is_form:
        _check_name(values["name"])
    if is_form and values["images"] is None:
        raise InputError("images: null: where are the images? use images=<folder> tags=<file>")
    if is_own:
        _check_places(values)


def _check_name(name: str | None) -> None:
    """Makes sure that `dataset=<name>` can be typed, and that its folder is nobody else's."""
    if name is None:
        raise InputError("name: null: what is the data set to be called? use name=<yours>, then dataset=<yours>")
    if not CALLED.fullmatch(name) or name.endswith((".yaml", ".yml")):
        cure = "begin with a letter, and use letters, digits and . _ -"
        raise InputError(f"name: {name}: not the name of a data set; {cure}")
    texts = [path.read_text() for path in (config_folder() / "dataset").glob("*.yaml")]
    folders = {folder.casefold() for text in texts for folder in FOLDER_KEY.findall(text)}
    if name.casefold() in {*options("dataset"), *folders, *TAKEN}:
        raise InputError(f"name: {name}: is taken; choose another name, for instance my_{name}")


def _check_places(values: Mapping[str, Any]) -> None:
    """Makes sure that what is given is there, and is given for images."""
    share, given = values["validation"], next((key for key in KEYS if values[key] is not None), None)
    if given is not None and values["images"] is None:
        raise InputError(f"images: null: whose {given} are {values[given]}? use images=<folder>")
    for key in ("images", "tags", "masks"):
        if values[key] is not None and not Path(values[key]).exists():
            raise InputError(f"{key}: {values[key]}: no such file or folder; use {key}=<path>")
    if share is not None and not Path(share).is_file() and as_share(share) is None:
        cure = f"use a number from 0 to {LARGEST_SHARE}, or a file with the name of an image a line"
        raise InputError(f"validation: {share}: neither a share of the images nor a file; {cure}")
