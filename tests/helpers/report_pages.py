"""Runs to write reports of, and what stands on a page."""

import csv
import html.parser
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from dhr.dataset.classes import load_classes
from dhr.disk.atomic import write_json
from dhr.disk.layout import RunFolder
from dhr.evaluation.gallery import save_gallery

TOY = load_classes("toy")
RECORD = {
    "command": "python -m dhr.train dataset=toy", "dataset": "toy", "wss": "simulated", "uss": "colour",
    "rebalancing": "dhr", "backbone": "resnet18_half", "decoder": "deeplabv3plus", "seed": 1, "tau": 0.8,
    "max_epochs": 15, "steps": 12345, "seconds": 3725.0, "versions": {"torch": "2.15.0"}, "device": "CPU",
    "status": "finished",
}  # fmt: skip
CURVES: list[dict[str, float]] = [
    {"step": 1, "train/loss": 2.0}, {"step": 9, "validation/miou": 40.0}, {"step": 10, "train/loss": 1.0},
    {"step": 19, "validation/miou": 60.0},
]  # fmt: skip


def scores_of(miou: float, **changes: object) -> dict[str, object]:
    """A score file; class k has (k + 1) * 100 pixels of truth, of which one in ten is taken for the next class."""
    count = TOY.num_classes
    sizes = [(index + 1) * 100 for index in range(count)]
    confusion = np.diag([size * 9 // 10 for size in sizes]) + np.roll(np.diag([size // 10 for size in sizes]), 1, 1)
    classes = [
        {"name": name, "iou": 10.0 + index, "fpr": 0.1, "fnr": 0.2, "truth_pixels": size}
        for index, (name, size) in enumerate(zip(TOY.names, sizes, strict=True))
    ]
    means = {"miou": miou, "mfpr": 0.12345, "mfnr": 0.07654, "small_mfnr": None}
    described = {"definition": "one matrix", "dataset": "toy", "split": "validation", "images": 4, "missing": 0}
    return {**described, **means, "classes": classes, "confusion": confusion.tolist(), "measured": "here", **changes}


def draw_scene(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A noise image and a mask with one square."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((24, 32), np.uint8)
    mask[4:14, 6 : 16 + seed] = 1 + seed
    return rng.integers(0, 256, (24, 32, 3), dtype=np.uint8), mask


def make_run(
    root: Path,
    *,
    record: Mapping[str, object] = RECORD,
    curves: Sequence[Mapping[str, float]] = CURVES,
    miou: float = 71.26,
) -> Path:
    """A complete run folder with scores, curves and two gallery entries."""
    folder = RunFolder(root)
    write_json(folder.record, record)
    write_json(folder.scores("validation"), scores_of(miou))
    with folder.metrics.open("w", newline="") as file:
        columns = ["epoch", "step", "train/loss", "validation/miou"]
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(curves)
    data = root.parent / "data"
    folder.config.write_text(
        f"paths: {{data: '{data}'}}\ndataset: {{folder: Toy, classes: toy, splits: {{validation: validation}}}}\n"
    )
    for index in range(2):
        image, mask = draw_scene(index)
        ignored = np.where(np.arange(32) < 8, 255, mask).astype(np.uint8)
        path = folder.gallery / f"scene_{index}.npz"
        save_gallery(path, image=image, wss_mask=mask, pseudo_mask=ignored, truth=mask, tags=[TOY.names[1 + index]])
    return root


def png_of(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


class Outline(html.parser.HTMLParser):
    """Collects elements and checks that all of them are closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag not in ("meta", "img", "br", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)


def read(path: Path) -> Outline:
    return Outline(path.read_text(encoding="utf-8"))


def check_self_contained(page: str) -> None:
    """No script, no handler, no address outside the file."""
    for tag, attributes in Outline(page).elements:
        assert tag not in ("script", "link", "iframe", "object", "embed", "base")
        assert not [name for name in attributes if name.startswith("on")]
        assert (attributes.get("src") or "data:").startswith("data:")
        assert (attributes.get("href") or "#").startswith("#")
    assert not re.search(r"https?://|@import|url\(|javascript:", page)
