"""Soft maps of one image: what a WSS method makes its mask from, <folder>/<id>.safetensors."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from dhr.core.errors import InputError
from dhr.core.numerics import resize

STRIDE = 4  # pixels of a cell: half of the finest cells that maps come from, a backbone of stride 16 at twice the size
SUFFIX = ".safetensors"


def grid_of(size: tuple[int, int]) -> tuple[int, int]:
    """Cells of the maps of an image of (height, width)."""
    return -(-size[0] // STRIDE), -(-size[1] // STRIDE)


def encode_maps(maps: Tensor, first_tag: int) -> bytes:
    """Maps (T,H,W) in [0,1] as a file: those with a mark, bilinear on a cell for STRIDE pixels, in half precision.

    Args:
        maps: of all tag classes, 0 everywhere for those that the image does not show.
        first_tag: label of the first of them.
    """
    marked = maps.flatten(1).amax(1).nonzero()[:, 0]
    small = resize(maps[None].float(), grid_of((maps.shape[1], maps.shape[2])))[0, marked]
    return save({"maps": small.half().contiguous(), "labels": (marked + first_tag).to(torch.uint8).contiguous()})


def read_maps(path: Path, size: tuple[int, int], num_classes: int) -> tuple[Tensor, Tensor]:
    """Maps of an image at its size.

    Args:
        path: of the file.
        size: of the image, (height, width).
        num_classes: labels are below it.

    Returns:
        (C,H,W) float32 in [0,1], and (C) their labels, int64; C is 0 where nothing is marked.

    Raises:
        InputError: unreadable, or not the maps of such an image.
    """
    cure = "make it again with python -m dhr.train_wss maps=true"
    try:
        found = load(path.read_bytes())
        maps, labels = found["maps"].float(), found["labels"].long()
    except (OSError, SafetensorError, KeyError) as error:
        raise InputError(f"{path}: no soft maps ({type(error).__name__}: {error}); {cure}") from None
    if tuple(maps.shape) != (len(labels), *grid_of(size)):
        due = (len(labels), *grid_of(size))
        raise InputError(f"{path}: shape {tuple(maps.shape)}: an image of {size} (height, width) has {due}; {cure}")
    if not bool(((maps >= 0) & (maps <= 1)).all()) or not bool(((labels > 0) & (labels < num_classes)).all()):
        raise InputError(f"{path}: values outside of [0,1], or labels that are no class of the data set; {cure}")
    return (resize(maps[None], size)[0] if len(labels) else maps.new_zeros(0, *size)), labels
