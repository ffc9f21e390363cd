"""Runs to write reports of, and what stands on a page."""

import base64
import csv
import hashlib
import html.parser
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dhr.dataset.classes import load_classes
from dhr.disk.annotation import write_tags
from dhr.disk.atomic import write_atomically, write_json
from dhr.disk.layout import DataLayout, RunFolder
from dhr.disk.mask import write_mask
from dhr.evaluation.gallery import save_gallery
from dhr.page.render import script_hash

TOY = load_classes("toy")
# Names of classes and an image that a page must not take for anything but text.
NAMES = ("background", "</script><script>hacked=1</script>", "a\"b'c|d&e_f", "\u00e9t\u00e9\u2028", *"defghi")
ODD = "<img src=x onerror=hacked=1>'\"\u00e9"  # the id of an image
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


def add_predictions(run: Path, *, images: int = 10, shift: int = 0) -> None:
    """Data and predictions of a split; the square of scene k is missed by k + shift columns."""
    layout = DataLayout(run.parent / "data", "Toy")
    for index in range(images):
        image_id = f"val_{index}"
        image, truth = draw_scene(index % 8)
        prediction = truth.copy()
        prediction[:, 6 : 6 + index + shift] = 0
        write_mask(layout.mask("validation", image_id), truth, TOY.palette)
        write_mask(RunFolder(run).masks("validation") / f"{image_id}.png", prediction, TOY.palette)
        write_tags(layout.tags("validation", image_id), truth.shape, [TOY.names[1 + index % 8]])
        write_atomically(layout.image("validation", image_id).with_suffix(".png"), png_of(image))


class Outline(html.parser.HTMLParser):
    """Collects elements and checks that all of them are closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.scripts: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag not in ("meta", "img", "br", "input", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        else:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)


def read(path: Path) -> Outline:
    return Outline(path.read_text(encoding="utf-8"))


def check_self_contained(page: str) -> None:
    """No script but the one that the policy names, no handler, no address outside the file."""
    outline = Outline(page)
    for tag, attributes in outline.elements:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        assert not [name for name in attributes if name.startswith("on")]
        assert (attributes.get("src") or "data:").startswith("data:")
        assert (attributes.get("href") or "#").startswith("#")
    running = [attributes for tag, attributes in outline.elements if tag == "script" and "type" not in attributes]
    known = script_hash("report.js")
    assert len(running) <= 1 and page.count(known) == len(running)
    hashes = [f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}" for text in outline.scripts]
    assert hashes.count(known) == len(running), "the script is the one of the policy, to the byte"
    assert not re.search(r"https?://|@import|url\(|javascript:", page)


def explored(page: str) -> Any:
    """The data of the images of a page, as its script reads them; None where there are none."""
    texts = re.findall(r'<script type="application/json" id="explored">(.*?)</script>', page, re.DOTALL)
    return json.loads(texts[0]) if texts else None
