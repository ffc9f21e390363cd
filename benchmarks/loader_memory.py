"""Resident memory of a training loader's worker for a split of 1 and of 100,000 entries.

Usage: python benchmarks/loader_memory.py [entries ...]
Every number is taken in a process of its own, from a worker that has read 64 samples; the ids that are not read need
no files. Memory that pages of the parent share with the worker counts in full.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from dhr.dataset.split import Split

SAMPLES = 64
SIDE = 48


def measure(entries: int) -> float:
    """MiB of a worker, from a process that has nothing else in it."""
    run = subprocess.run(
        [sys.executable, __file__, "--worker", str(entries)], capture_output=True, text=True, check=True
    )
    return float(run.stdout.split()[-1])


def worker_memory(entries: int) -> float:
    """MiB of the one worker of a loader over `entries` ids, of which the first 64 are read."""
    from torch.utils.data import DataLoader

    from dhr.dataset.prepare.preparer import Generate, prepare_toy
    from dhr.dataset.split import Split, TrainDataset
    from dhr.dataset.transforms import TrainTransform

    with tempfile.TemporaryDirectory() as folder:
        prepare_toy(Path(folder), Generate({"train": SAMPLES}, image_size=SIDE))
        split = _long_split(Split, Path(folder), entries)
        data = TrainDataset(
            split=split,
            indices=np.arange(entries),
            wss_masks=None,
            features=None,
            grid=(6, 6),
            transform=TrainTransform(SIDE, (SIDE, SIDE), 0.5, (0.1, 0.1, 0.1, 0.0)),
            seed=1,
        )
        keys = [(0, position % min(entries, SAMPLES)) for position in range(SAMPLES)]
        loader = DataLoader(data, sampler=keys, batch_size=SAMPLES, num_workers=1, collate_fn=_memory)
        return float(next(iter(loader)))


def _long_split(split: type["Split"], data: Path, entries: int) -> "Split":
    """The prepared split with its ids repeated to `entries`, as different ones."""
    from dhr.dataset.classes import load_classes
    from dhr.disk.layout import DataLayout

    opened = split.open(DataLayout(data, "Toy"), "train", load_classes("toy"))
    more = [f"COCO_train2014_{number:012d}".encode() for number in range(max(entries - SAMPLES, 0))]
    ids = np.concatenate([opened.ids[:entries], np.array(more, dtype=np.bytes_)]) if more else opened.ids[:entries]
    return split(opened.layout, opened.name, opened.table, ids)


def _memory(_: object) -> float:
    """Resident memory of the process that puts a batch together, the worker."""
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * 4096 / 2**20


def main() -> int:
    """Prints one line per number of entries."""
    if sys.argv[1:2] == ["--worker"]:
        print(worker_memory(int(sys.argv[2])))
        return 0
    for entries in [int(word) for word in sys.argv[1:]] or [1, 100_000]:
        print(f"{entries:>8,} entries: {measure(entries):.1f} MiB in a loader worker")
    return 0


if __name__ == "__main__":
    sys.exit(main())
