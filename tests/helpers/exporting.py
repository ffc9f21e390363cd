"""What the tests of dhr.export share: a run that was never trained, two pictures, and the command."""

from pathlib import Path

import numpy as np
from PIL import Image
from untrained import untrained_run

from dhr.config.compose import compose
from dhr.disk.atomic import write_json
from dhr.disk.layout import RunFolder
from dhr.export import main


def scored_run(folder: Path) -> RunFolder:
    run = untrained_run(folder / "mine")
    write_json(run.scores("validation"), {"split": "validation", "images": 4, "miou": 12.3456, "classes": {}})
    return run


def two_pictures(folder: Path) -> list[Path]:
    random, paths = np.random.default_rng(0), [folder / "a.jpg", folder / "b.png"]
    for path, size in zip(paths, ((60, 85), (48, 64)), strict=True):
        Image.fromarray(random.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)
    return paths


def export(run: RunFolder, photographs: list[Path], *words: str) -> None:
    main.run(compose("export", [f"run={run.root}", f"images=[{','.join(map(str, photographs))}]", *words]))
