"""Rules over backbone and decoder: which go together, and for which crops."""

from collections.abc import Mapping
from typing import Any

from dhr.config.tree import config_folder, options
from dhr.core.errors import InputError

EOMT = "dhr.decoder.eomt.Eomt"
SWIN = "dhr.backbone.swin.Swin"  # strides up to 32, whatever is asked for


def check_network(backbone: Mapping[str, Any], decoder: Mapping[str, Any]) -> None:
    """Refuses a decoder that cannot work with the backbone.

    Raises:
        InputError: its maps are too coarse, or it has no blocks in which queries could take part.
    """
    coarse = backbone["_target_"] == SWIN or backbone.get("output_stride") == 32
    if coarse and decoder["_target_"].startswith("dhr.decoder.deeplab"):
        files = {name: (config_folder() / "backbone" / f"{name}.yaml").read_text() for name in options("backbone")}
        finer = ", ".join(name for name, text in files.items() if SWIN not in text)
        raise InputError(
            f"decoder: {decoder['_target_'].rpartition('.')[2]}: needs a backbone of output stride 8 or 16, this "
            f"one has 32; use decoder=mask2former, or one of backbone={finer} with backbone.output_stride at most 16"
        )
    _check_queries(backbone, decoder)


def _check_queries(backbone: Mapping[str, Any], decoder: Mapping[str, Any]) -> None:
    """Queries of EoMT run through the last blocks of the backbone."""
    if decoder["_target_"] != EOMT:
        return
    if decoder["patch"] is None or "depth" not in backbone:
        files = {name: (config_folder() / "backbone" / f"{name}.yaml").read_text() for name in options("backbone")}
        fitting = ", ".join(name for name, text in files.items() if "\npatch:" in text)
        raise InputError(f"decoder: eomt: needs the blocks of a vision transformer; use one of backbone={fitting}")
    if decoder["patch"] != backbone["patch"]:
        raise InputError(
            f"decoder.patch: {decoder['patch']}: the backbone's are {backbone['patch']} pixels; leave decoder.patch out"
        )
    if decoder["blocks"] > backbone["depth"]:
        raise InputError(
            f"decoder.blocks: {decoder['blocks']}: the backbone has {backbone['depth']}; use at most so many"
        )


def check_crop(crop: int, decoder: Mapping[str, Any]) -> None:
    """Refuses crops that are no whole patches.

    Raises:
        InputError: the masks of the decoder would lie beside the labels.
    """
    if decoder["_target_"] == EOMT and crop % decoder["patch"]:
        patch = decoder["patch"]
        raise InputError(
            f"dataset.crop_size: {crop}: masks of patches of {patch} pixels would lie beside the labels; "
            f"use a multiple, such as dataset.crop_size={crop - crop % patch + patch}"
        )
