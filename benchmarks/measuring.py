"""What the benchmarks share: rows of the table, timing, photographs, and a batch as training sees it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from dhr.core.sample import Batch, NetworkOutput
from dhr.dataset.toy.scene import make_scene

PHOTOGRAPHS = Path(__file__).resolve().parents[2] / "shared" / "samples" / "voc2012" / "VOCdevkit" / "VOC2012"
STRIDE = 8  # pixels per cell of the USS map and of C4 and C5


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        line: number of the promise.
        what: what was measured.
        value: the measured ratio or number.
        target: what is promised, in words.
        met: whether it is; None where there is no promise, or where it could not be measured here.
        detail: the seconds behind the ratio, or why it was not measured.
    """

    line: int
    what: str
    value: float | None
    target: str
    met: bool | None
    detail: str = ""

    def as_json(self) -> dict[str, Any]:
        """The row as it is written."""
        return asdict(self)


def best_of(rounds: int, *works: Callable[[], object]) -> list[float]:
    """Shortest time of each work in seconds; the works take turns, so that what else the machine does meets all."""
    times: list[list[float]] = [[] for _ in works]
    for _ in range(rounds):
        for work, found in zip(works, times, strict=True):
            start = time.perf_counter()
            work()
            found.append(time.perf_counter() - start)
    return [min(found) for found in times]


def photographs(count: int, side: int) -> tuple[Tensor, Tensor]:
    """(B,3,side,side) uint8 RGB and (B,side,side) uint8 masks: of VOC where they are at hand, else drawn scenes."""
    ids = sorted(path.stem for path in (PHOTOGRAPHS / "SegmentationClassAug").glob("*.png"))
    pairs = [_photograph(ids[number % len(ids)]) if ids else _scene(number, side) for number in range(count)]
    pixels, masks = [], []
    for image, mask in pairs:
        pixels.append(np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)))
        masks.append(np.asarray(Image.fromarray(mask).resize((side, side), Image.Resampling.NEAREST)))
    return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(np.stack(masks))


def source_of_pictures() -> str:
    """What `photographs` gives on this machine."""
    return "photographs of VOC" if PHOTOGRAPHS.is_dir() else "drawn scenes"


def _photograph(image_id: str) -> tuple[np.ndarray, np.ndarray]:
    image = np.asarray(Image.open(PHOTOGRAPHS / "JPEGImages" / f"{image_id}.jpg").convert("RGB"))
    return image, np.asarray(Image.open(PHOTOGRAPHS / "SegmentationClassAug" / f"{image_id}.png"))


def _scene(number: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    scene = make_scene(np.random.default_rng(number), side)
    return scene.image, scene.mask


def make_batch(images: int, side: int, classes: int, device: torch.device) -> tuple[Batch, NetworkOutput]:
    """A batch of photographs with `classes` classes each, background included, and a network's output for it."""
    generator = torch.Generator().manual_seed(0)
    pixels, _ = photographs(images, side)
    grid = side // STRIDE
    owner = _blobs(images, classes, grid, generator)
    mask = functional.interpolate(owner.argmax(1)[:, None].float(), size=(side, side), mode="nearest")[:, 0].byte()
    tags = torch.zeros(images, 20)
    tags[:, : classes - 1] = 1
    features = torch.einsum("bmhw,md->bdhw", owner, torch.rand(classes, 90, generator=generator))
    noisy = [features + 0.3 * torch.rand(features.shape, generator=generator) for _ in range(3)]
    cams = torch.full((images, 20, grid // 2, grid // 2), -1.0)
    cams[:, : classes - 1] = functional.avg_pool2d(owner, 2)[:, 1:] * 4 - 1
    batch = Batch(
        ids=tuple(map(str, range(images))),
        pixels=pixels,
        tags=tags,
        wss_mask=mask,
        boxes=torch.tensor([[0, 0, side, side]]).repeat(images, 1),
        most_tags=classes - 1,
        whole=torch.zeros(images, dtype=torch.bool),
        uss_features=noisy[0],
    )
    output = NetworkOutput(torch.zeros(images, 21, side // 4, side // 4), cams, (noisy[1], noisy[2]))
    return on(batch, device), NetworkOutput(
        output.logits.to(device), cams.to(device), (noisy[1].to(device), noisy[2].to(device))
    )


def on(batch: Batch, device: torch.device) -> Batch:
    """The batch with every tensor on a device."""
    moved: dict[str, Any] = {name: value.to(device) for name, value in vars(batch).items() if isinstance(value, Tensor)}
    return replace(batch, **moved)


def _blobs(images: int, classes: int, grid: int, generator: torch.Generator) -> Tensor:
    """(B,M,h,w) soft membership of smooth regions."""
    coarse = torch.randn(images, classes, 4, 4, generator=generator)
    return (functional.interpolate(coarse, size=(grid, grid), mode="bicubic") * 4).softmax(1)


def table(rows: Sequence[Row]) -> str:
    """The rows as lines of text."""
    marks = {True: "met", False: "NOT met", None: ""}
    body = []
    for row in rows:
        value = "not measured" if row.value is None else f"{row.value:.4g}"
        body.append([str(row.line), row.what, value, row.target, marks[row.met], row.detail])
    lines = [["line", "what", "measured", "target", "", "detail"], *body]
    widths = [max(len(line[place]) for line in lines) for place in range(6)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
