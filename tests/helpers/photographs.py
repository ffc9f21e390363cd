"""Photographs of a user as files, a tag file beside them, and the command that prepares them."""

from pathlib import Path

import numpy as np
from downloads import SIZE, picture, save

from dhr.config.compose import compose
from dhr.dataset.prepare.preparer import Preparation
from dhr.disk.layout import DataLayout
from dhr.disk.manifest import Entry, Manifest
from dhr.disk.mask import write_mask
from dhr.stage.prepare import prepare

TAGS = {"a": ("cat",), "b": ("dog",), "c": ("cat", "dog"), "d": ("dog",), "e": ("cat",), "f": ("bird",)}
CLASSES = ["background", "bird", "cat", "dog"]


class Own:
    """A folder with `photos`, `tags.csv` and, once prepared, `data`."""

    def __init__(self, root: Path) -> None:
        self.root, self.photos, self.tags = root, root / "photos", root / "tags.csv"
        for number, name in enumerate(TAGS):
            save(self.photos / f"{name}.png", picture(number))
        self.write(*(f"{name}.png,{';'.join(tags)}" for name, tags in TAGS.items()))

    def write(self, *lines: str) -> None:
        """Makes `lines` the tag file."""
        self.tags.write_text("\n".join(["image,tags", *lines, ""]), encoding="utf-8")

    def prepare(self, *words: str) -> Preparation:
        """Calls the command; what is typed wins."""
        given = {word.partition("=")[0] for word in words}
        usual = {"dataset": "folder", "name": "mine", "images": self.photos, "tags": self.tags, "workers": 1}
        typed = [f"{key}={value}" for key, value in usual.items() if key not in given]
        return prepare(compose("prepare", [f"paths.data={self.root / 'data'}", *typed, *words]))

    def masks(self, *names: str, label: int = 1, size: tuple[int, int] = SIZE) -> str:
        """Writes masks of a single label; what is typed for them."""
        for name in names:
            write_mask(self.root / "masks" / f"{name}.png", np.full(size, label, np.uint8), [(0, 0, 0)])
        return f"masks={self.root / 'masks'}"

    @property
    def layout(self) -> DataLayout:
        return DataLayout(self.root / "data", "mine")

    def entries(self) -> dict[str, Entry]:
        """What the manifests of both splits say."""
        splits = [split for split in ("train", "validation") if self.layout.split(split).is_dir()]
        found = [Manifest.open(self.layout.split(split)) for split in splits]
        return {entry.id: entry for manifest in found for entry in manifest or ()}

    def placed(self) -> dict[str, tuple[str, ...]]:
        """Tags of every image."""
        return {image_id: entry.tags for image_id, entry in self.entries().items()}
