"""`dhr.export`: the network of a run as one file for other programs, compared with the run before it is there."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from dhr.config.exported import KEY, NetworkSettings, stated
from dhr.config.parts import check_signatures
from dhr.config.relations import SUFFIXES
from dhr.core.cells import Size
from dhr.core.colour import normalise
from dhr.core.errors import InputError
from dhr.core.numerics import resize
from dhr.core.words import word
from dhr.dataset.classes import ClassTable
from dhr.disk.any_image import read_any_image
from dhr.disk.atomic import write_atomically, write_json
from dhr.disk.weights.hub import FILE
from dhr.network.exported import FORMATS, Answering, Exportable, as_text, in_words, is_alone, largest_difference
from dhr.network.segmentation import SegmentationNetwork
from dhr.stage.card import card, provenance_of
from dhr.stage.source import Source

TOLERANCE = 1e-4  # of logits and probabilities, see `largest_difference`: kernels round differently
COMPARED = 3  # images of the validation split
SMALLER = 0.75  # of an image, for the second size
log = logging.getLogger("dhr.export")


def export(cfg: DictConfig) -> Path:
    """Writes the network and its description, once what is written answers as the network does.

    Returns:
        The file, or the folder that is ready for the hub.

    Raises:
        InputError: there is something else already, no image to compare on, a package is missing, or the network
            cannot be written in this format, or not for images of any size.
    """
    check_signatures(cfg)
    source = Source.of(cfg)
    target = _target(cfg, source)
    images = list(_images(cfg, source))
    table = source.table()
    network = source.network(table).eval()
    size: Size | None = None if cfg.size is None else (cfg.size[0], cfg.size[1])
    if cfg.format != "safetensors" and size is None and not network.decoder.exported_any_size:
        raise _unwritable(cfg, "the number of its patches is a constant of the program")
    alone = cfg.format != "safetensors" and is_alone(network, size)
    entries = description(source, table, network, size, alone=alone)
    texts = {KEY: as_text(entries), "cells": entries["cells"]}
    kind = FORMATS[cfg.format]
    try:
        content = kind.encode(network, texts, size)
        opened = kind.opened(content, network)
    except InputError:
        raise
    except Exception as error:  # the exporters let through whatever a layer raises under them
        raise _unwritable(cfg, _said(error)) from error
    difference = _compared(cfg, opened, network, [each for image in images for each in views(image, size)])
    if target.suffix:
        write_atomically(target, content)
    else:
        write_atomically(target / FILE, content)
        write_json(target / "config.json", entries)
        write_atomically(target / "README.md", card(entries, target.name).encode())
    log.info(
        f"{target}: {len(content) / 1e6:.1f} MB; on {len(images)} images at two sizes it differs from the network by "
        f"at most {difference:.1e} (allowed {TOLERANCE:.0e})"
    )
    return target


def description(
    source: Source, table: ClassTable, network: SegmentationNetwork, size: Size | None, *, alone: bool
) -> dict[str, Any]:
    """What the file says of itself: input, outputs, classes, how the network is built, and where it comes from."""
    values: Any = OmegaConf.to_container(source.settings, resolve=True)
    settings = {key: values[key] for key in NetworkSettings.model_fields}
    if "weights" in settings["backbone"]:
        settings["backbone"] = {**settings["backbone"], "weights": None}  # where training started from
    settings["dataset"] = {**settings["dataset"], "download": None}
    return {
        **in_words(network, size, alone=alone),
        "classes": {
            "table": values["dataset"]["classes"],
            "names": list(table.names),
            "palette": [list(colour) for colour in table.palette],
            "has_background": table.has_background,
        },
        "settings": settings,
        "choices": {key: value for key, value in values["choices"].items() if key in settings},
        "provenance": provenance_of(source, stated(source.weights)),
    }


def views(image: Tensor, size: Size | None) -> Iterator[Tensor]:
    """(1,3,h,w) normalised views of an image (3,H,W) uint8: it and a smaller one; at one size, also mirrored."""
    normal = normalise(image)[None]
    if size is not None:
        yield resize(normal, size)
        yield resize(normal.flip(-1), size)
        return
    yield normal
    yield resize(normal, (int(SMALLER * normal.shape[-2]) | 1, int(SMALLER * normal.shape[-1]) | 1))


@torch.no_grad()
def _compared(cfg: DictConfig, opened: Answering, network: SegmentationNetwork, views: list[Tensor]) -> float:
    """Largest difference between the file and the network.

    Raises:
        InputError: it is above TOLERANCE, or the file has no answer to an image.
    """
    own, largest = Exportable(network).eval(), 0.0
    for view in views:
        place = " x ".join(map(str, view.shape[2:]))
        try:
            found = opened(view)
        except Exception as error:  # a guard of torch.export, or an error of onnxruntime
            raise _unwritable(cfg, f"no answer to an image of {place} ({_said(error)})") from error
        difference = largest_difference(found, own(view))
        if not difference <= TOLERANCE:
            raise _unwritable(cfg, f"another answer to an image of {place}, by {difference:.1e}")
        largest = max(largest, difference)
    return largest


def _unwritable(cfg: DictConfig, problem: str) -> InputError:
    parts = f"backbone={cfg.choices.get('backbone')} decoder={cfg.choices.get('decoder')}"
    if cfg.size is None and cfg.format != "safetensors":
        cure = f"try one size, as size=[512,512], or {word('format', 'safetensors')}, which dhr.load opens"
        return InputError(
            f"size: null: {parts} cannot be written as {cfg.format} for images of any size: {problem}; {cure}"
        )
    return InputError(
        f"format: {cfg.format}: {parts} cannot be written so: {problem}; use format=safetensors, which dhr.load opens"
    )


def _said(error: Exception) -> str:
    return " ".join(f"{type(error).__name__} {error}".split())[:200]


def _target(cfg: DictConfig, source: Source) -> Path:
    name = source.folder.root.name
    usual = source.folder.root / "export" / f"{name}{SUFFIXES[cfg.format]}"
    target = usual if cfg.output is None else Path(cfg.output)
    held = target if target.suffix else target / FILE
    if held.exists() and not cfg.overwrite:
        raise InputError(f"output: {held}: is there already; use output=<another> or overwrite=true")
    if not target.suffix and (target / "run.json").exists():
        raise InputError(f"output: {target}: is the folder of a run; choose another")
    return target


def _images(cfg: DictConfig, source: Source) -> Iterator[Tensor]:
    """(3,H,W) uint8."""
    if cfg.images:
        for path in cfg.images:
            yield torch.from_numpy(read_any_image(Path(path)).transpose(2, 0, 1).copy())
        return
    try:
        split = source.split(source.settings.dataset.splits.validation)
    except InputError as error:
        raise InputError(f"{error}; or give images to compare the export on: images=[<a.jpg>,<b.jpg>]") from None
    for image_id in split.all_ids()[:COMPARED]:
        yield split.pixels(image_id)
