"""Wall time of prepare against decoding and encoding the same files, side by side on the same cores.

Usage: python benchmarks/prepare.py [images]
The download has the form of ADE20K, whose masks have to be written anew; its pictures are drawn scenes of 480x480.
"""

import io
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image

from dhr.dataset.classes import load_classes
from dhr.dataset.original.ade import Ade2016
from dhr.dataset.prepare.preparer import Preparer, Sources
from dhr.dataset.toy.scene import make_scene
from dhr.disk.layout import DataLayout
from dhr.runtime.pools import cores

SIDE, SCENES, ROUNDS = 480, 16, 3


def make_download(root: Path, images: int) -> Path:
    """ADEChallengeData2016 with `images` training images."""
    home = root / "ADEChallengeData2016"
    pairs = []
    for number in range(SCENES):
        scene = make_scene(np.random.default_rng(number), SIDE)
        pairs.append((_encoded(scene.image, "JPEG"), _encoded(scene.mask, "PNG")))
    for folder in ("images/training", "annotations/training"):
        (home / folder).mkdir(parents=True)
    for number in range(images):
        image, mask = pairs[number % SCENES]
        (home / "images" / "training" / f"ADE_train_{number:08d}.jpg").write_bytes(image)
        (home / "annotations" / "training" / f"ADE_train_{number:08d}.png").write_bytes(mask)
    return home


def _encoded(array: np.ndarray, form: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, form, quality=90)
    return buffer.getvalue()


def bare(pair: tuple[Path, Path, Path]) -> None:
    """Decodes an image and its mask, looks the labels up, encodes the mask: no check, no tags, no manifest."""
    image, mask, target = pair
    Image.open(image).convert("RGB").load()
    labels = np.asarray(Image.open(mask))
    picture = Image.fromarray((labels - 1).astype(np.uint8))
    picture.putpalette(bytes(range(256)) * 3)
    picture.save(target, compress_level=1)


def time_bare(home: Path, target: Path) -> float:
    """Seconds of `bare` over all images, in a pool of processes."""
    target.mkdir()
    images = sorted((home / "images" / "training").iterdir())
    pairs = [
        (path, home / "annotations" / "training" / f"{path.stem}.png", target / f"{path.stem}.png") for path in images
    ]
    start = time.perf_counter()
    with ProcessPoolExecutor(cores(), mp_context=get_context("spawn")) as pool:
        list(pool.map(bare, pairs, chunksize=32))
    return time.perf_counter() - start


def time_prepare(home: Path, data: Path) -> float:
    """Seconds of a whole prepare."""
    preparer = Preparer("ade", DataLayout(data, "ADE2016"), load_classes("ade"), Ade2016())
    start = time.perf_counter()
    preparer(Sources(source=home))
    return time.perf_counter() - start


def main() -> int:
    """Prints both times and their ratio, best of three rounds each, taken in turns."""
    images = int(sys.argv[1]) if len(sys.argv) > 1 else 1500
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        home = make_download(root, images)
        rounds = [
            (time_bare(home, root / f"bare{turn}"), time_prepare(home, root / f"data{turn}")) for turn in range(ROUNDS)
        ]
    plain, whole = (min(times) for times in zip(*rounds, strict=True))
    print(f"{images} images on {cores()} cores: bare {plain:.2f} s, prepare {whole:.2f} s, ratio {whole / plain:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
