"""Crops with every kind of tag, box and mask, as loops and as the rebalancer take them."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from reference import IGNORE, Crop
from torch import Tensor

from dhr.core.sample import Batch, NetworkOutput
from dhr.core.window import Window, boxes_of
from dhr.crf.none import NoCrf, NoField
from dhr.rebalancing.view import View

SIZE, GRID, TAGS = (16, 20), (4, 5), 5
BOXES = [(0, 0, 16, 20), (3, 0, 13, 14), (0, 6, 9, 14), (5, 7, 8, 5), (2, 2, 14, 18), (0, 0, 16, 11)]
PRESENT = [(0, 1, 2), (3,), (0, 1, 2, 3, 4), (1, 4), (), (2, 4)]


def crop(number: int, first_tag: int = 1) -> Crop:
    """A crop with rough maps: some classes are missing in the WSS mask, some pairs of classes are alike for the USS."""
    rng = np.random.default_rng(number)
    tags = list(PRESENT[number % 6])
    valid = np.zeros(SIZE, bool)
    top, left, height, width = BOXES[number % 6]
    valid[top : top + height, left : left + width] = True
    labels = [tag + first_tag for tag in tags[1:]] + [0 if first_tag else IGNORE, IGNORE]
    mask = np.kron(rng.choice(labels, (4, 4)), np.ones((4, 5), int))
    return Crop(
        tags=np.isin(np.arange(TAGS), tags),
        cams=rng.normal(0.3, 1, (TAGS, 3, 4)),
        uss=rng.normal(0.6, 1, (6, *GRID)),
        c4=rng.normal(0, 1, (4, 5, 6)),
        c5=rng.normal(0, 1, (3, 3, 4)),
        wss_mask=np.where(valid, mask, IGNORE),
        valid=valid,
        logits=rng.normal(0, 1, (TAGS + first_tag, *GRID)),
        whole=number % 5 == 4,
    )


def window(one: Crop) -> Window:
    rows, columns = np.nonzero(one.valid.any(1))[0], np.nonzero(one.valid.any(0))[0]
    size, place = (len(rows), len(columns)), (min(rows, default=0), min(columns, default=0))
    return Window(scaled=size, flip=False, source=(0, 0, *size), place=place, canvas=one.valid.shape)


def stack(crops: list[Crop], dtype: torch.dtype = torch.float32) -> tuple[Batch, NetworkOutput]:
    """What training would give the rebalancer."""

    def together(name: str) -> Tensor:
        return torch.from_numpy(np.stack([getattr(one, name) for one in crops])).to(dtype)

    boxes, tags = boxes_of(window(one) for one in crops), together("tags").float()
    noise = torch.rand(3, *crops[0].valid.shape, generator=torch.Generator().manual_seed(0))
    pixels = (torch.stack([noise * torch.from_numpy(one.valid) for one in crops]) * 255).to(torch.uint8)
    masks = together("wss_mask").to(torch.uint8)
    ids = tuple(map(str, range(len(crops))))
    whole = torch.tensor([one.whole for one in crops])
    batch = Batch(ids, pixels, tags, masks, boxes, int(tags.sum(1).max()), whole).with_features(together("uss"))
    return batch, NetworkOutput(together("logits"), together("cams"), (together("c4"), together("c5")))


def plain(view: View) -> tuple[View, NoField]:
    """A view and a field without pairwise terms."""
    return view, NoCrf().on(view.pixels, view.valid[:, 0])


def view_of(*crops: Crop, first_tag: int = 1) -> View:
    return View.of(*stack(list(crops)), first_tag=first_tag)


def scene(**changes: Any) -> Crop:
    """Tags 1 and 2; the WSS mask knows background and class 2 (tag 1); everything is valid."""
    mask = np.zeros(SIZE, int)
    mask[:, :8] = 2
    plain = replace(crop(0), tags=np.array([0, 1, 1, 0, 0]) > 0, wss_mask=mask)
    return replace(plain, **changes)


def cams(tag: int, height: float = 4.0, below: float = -1.0) -> np.ndarray:
    """A CAM whose right half is high for one tag, everything else low."""
    maps = np.full((5, 4, 5), below)
    maps[tag, :, 3:] = height
    return maps
