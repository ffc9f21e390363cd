"""A toy set so small that every stage passes over it in a second or two, and the words that ask for it."""

import importlib
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from dhr.config.compose import compose
from dhr.disk.layout import DataLayout, RunFolder

ROOT = Path(__file__).resolve().parents[2]
TRAIN, VALIDATION, SIDE, EPOCHS = 16, 4, 48, 2
STEPS = EPOCHS * TRAIN // 4  # batches of four
DATASET = (
    f"dataset.generate.train={TRAIN}",
    f"dataset.generate.validation={VALIDATION}",
    f"dataset.image_size={SIDE}",
    f"dataset.crop_size={SIDE}",
    "dataset.long_side=[46,52]",
    "dataset.batch_size=4",
    f"dataset.max_epochs={EPOCHS}",
    "dataset.rebalancing_start=1",
)
NETWORK = ("backbone.widths=[8,16,32,64]", "decoder.channels=16", "decoder.low_level_channels=8")
ON_CPU = ("trainer.accelerator=cpu", "trainer.log_every_n_steps=1", "crf.workers=0")
SETTINGS = {
    "prepare": DATASET,
    "train_wss": (*DATASET, *ON_CPU, "cam.epochs=1", "cam.backbone.widths=[8,16,32,64]"),
    "extract_uss": DATASET,
    "train": (*DATASET, *NETWORK, *ON_CPU),
}


@dataclass(frozen=True)
class Tiny:
    """A folder with `data` and `outputs`; the stages are called in this process, as their commands would."""

    root: Path

    @property
    def layout(self) -> DataLayout:
        return DataLayout(self.root / "data", "Toy")

    @property
    def wss(self) -> Path:
        """Masks of wss=cam, one folder per split."""
        return self.root / "data" / "WSS" / "Toy" / "CAM"

    @property
    def features(self) -> Path:
        return self.layout.split("train") / "colour"

    def run(self, name: str) -> RunFolder:
        return RunFolder(self.root / "outputs" / "toy" / "runs" / name)

    def words(self, verb: str, *extra: str) -> list[str]:
        """What would be typed behind `python -m dhr.<verb>`."""
        paths = [f"paths.data={self.root / 'data'}", f"paths.outputs={self.root / 'outputs'}"]
        real = any(word.startswith("dataset=") for word in extra)
        settings = () if real else SETTINGS.get(verb, ())
        return [*paths, *settings, *extra]

    def call(self, verb: str, *extra: str) -> None:
        """Composes, checks and runs a stage."""
        importlib.import_module(f"dhr.{verb}").main.run(compose(verb, self.words(verb, *extra)))

    def command(self, verb: str, *extra: str) -> list[str]:
        return [sys.executable, "-m", f"dhr.{verb}", *self.words(verb, *extra)]

    def copy(self, root: Path) -> "Tiny":
        """The same data in another folder, there to be broken."""
        shutil.copytree(self.root / "data", root / "data")
        return Tiny(root)

    def take_tags_away(self, image_id: str) -> None:
        """The image stays, and shows nothing that anybody named."""
        path = self.layout.tags("train", image_id)
        tree, last = path.read_text(), "</object>"
        path.write_text(tree[: tree.index("<object>")] + tree[tree.rindex(last) + len(last) :])

    def times(self) -> dict[Path, int]:
        """When every file was written last."""
        return {path: path.stat().st_mtime_ns for path in self.root.rglob("*") if path.is_file()}


def environment() -> dict[str, str]:
    """For commands: this checkout on the path, no more threads than a test needs, and byte code that is kept."""
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
