"""Line 10: bytes of a feature file, and seconds to write and to read it, in both forms.

Usage: python benchmarks/uss_store.py [rounds]
The size is that of CAUSE at the scale 2.0 on an image of VOC: 90 x 54 x 72, and with 32 components in place of 90
channels. Reading checks every number; it is compared with torch.load alone. Writing waits for the disk, as extract_uss
does in a thread of its own.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from measuring import Row, best_of, table

from dhr.disk.feature_file import FORMS, Form
from dhr.disk.feature_store import FeatureStore

GRID = (54, 72)  # of an image of 375 x 500 at scale 2.0 and patch 14
FILES = 40
Work = Callable[[], object]


def store(rounds: int) -> list[Row]:
    """One row per form and number of channels."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        return [
            _row(Path(folder) / f"{form}{channels}", form, channels, rounds) for channels in (90, 32) for form in FORMS
        ]


def _row(folder: Path, form: Form, channels: int, rounds: int) -> Row:
    made = FeatureStore(folder, "measure again", form)
    features = torch.randn(channels, *GRID, generator=torch.Generator().manual_seed(0)).half()
    ids = [str(number) for number in range(FILES)]

    def write() -> None:
        for image_id in ids:
            made.write(image_id, features)

    works: list[Work] = [
        write,
        lambda: [made.read(image_id, (375, 500)) for image_id in ids],
        lambda: [made.look(image_id, (375, 500)) for image_id in ids],
    ]
    if form == "pt":
        works.append(lambda: [torch.load(made.path(image_id), weights_only=True) for image_id in ids])
    seconds = [f"{each / FILES * 1e3:.2f}" for each in best_of(rounds, *works)]
    bare = f", torch.load alone {seconds[3]} ms" if form == "pt" else ""
    detail = f"write {seconds[0]} ms, read {seconds[1]} ms, look {seconds[2]} ms{bare}"
    size = made.path("0").stat().st_size
    return Row(10, f"bytes of {channels} x {GRID[0]} x {GRID[1]} as {form}", size, "", None, detail)


if __name__ == "__main__":
    print(table(store(int((sys.argv[1:] or ["5"])[0]))))
