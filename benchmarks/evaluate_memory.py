"""Peak memory of `dhr.evaluate` for 200 and for 4,000 pairs of masks of VOC's size.

Usage: python benchmarks/evaluate_memory.py [pairs ...]
Every number is the largest resident memory of a process of its own, threads and all. The files are hard links
of a few; images are listed and not read.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from measuring import Row, photographs

from dhr.core.labels import IGNORE
from dhr.dataset.classes import load_classes
from dhr.disk.layout import DataLayout
from dhr.disk.mask import write_mask

FEW, MANY = 200, 4000
DIFFERENT = 8
ROOM = 16  # MiB; one joint histogram kept for every 16 pairs would take 119 more


def rows() -> list[Row]:
    """What thousands of pairs need more than a few, which is to be their names at most."""
    few, many = measure(FEW), measure(MANY)
    what = f"peak memory of evaluate, MiB more for {MANY:,} pairs than for {FEW}"
    return [Row(8, what, many - few, f"<= {ROOM}", many - few <= ROOM, f"{few:.1f} MiB and {many:.1f} MiB")]


def measure(pairs: int) -> float:
    """MiB of a process that evaluates `pairs` pairs and has done nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        predictions = _make_split(Path(folder), pairs)
        words = [f"masks={predictions}", "dataset=voc", "split=train", f"paths.data={folder}"]
        run = subprocess.run(
            [sys.executable, __file__, "--evaluate", *words], capture_output=True, text=True, check=True
        )
    return float(run.stdout.split()[-1])


def peak(words: list[str]) -> float:
    """MiB that this process had at most, with everything that it imported, when it has evaluated."""
    from dhr.config.compose import compose
    from dhr.stage.evaluate import evaluate

    evaluate(compose("evaluate", words))
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**10


def predicted(truth: np.ndarray) -> np.ndarray:
    """(H,W) uint8 mask that a network could have predicted: the truth without IGNORE, moved by some rows."""
    return np.roll(np.where(truth == IGNORE, 0, truth).astype(np.uint8), 3, 0)


def _make_split(root: Path, pairs: int) -> Path:
    """A split `train` and predictions for it, which are the truth moved by some rows; returns their folder."""
    layout, table, predictions = DataLayout(root, "VOC2012"), load_classes("voc"), root / "predictions" / "train"
    _, masks = photographs(DIFFERENT, 500)
    for number in range(pairs):
        image_id, first = f"2007_{number:06d}", f"2007_{number % DIFFERENT:06d}"
        truth, prediction, image = (
            layout.mask("train", image_id),
            predictions / f"{image_id}.png",
            layout.image("train", image_id),
        )
        if image_id == first:
            mask = masks[number, :375].numpy()
            write_mask(truth, mask, table.palette)
            write_mask(prediction, predicted(mask), table.palette)
            image.parent.mkdir(parents=True, exist_ok=True)
            image.touch()
        else:
            os.link(layout.mask("train", first), truth)
            os.link(predictions / f"{first}.png", prediction)
            os.link(layout.image("train", first), image)
    return predictions


def main() -> int:
    """Prints one line per number of pairs."""
    if sys.argv[1:2] == ["--evaluate"]:
        print(peak(sys.argv[2:]))
        return 0
    for pairs in [int(word) for word in sys.argv[1:]] or [FEW, MANY]:
        print(f"{pairs:>8,} pairs: {measure(pairs):.1f} MiB at most in evaluate")
    return 0


if __name__ == "__main__":
    sys.exit(main())
