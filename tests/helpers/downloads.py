"""Small downloads that the tests make: pictures with a mask each, in the forms that are really handed out."""

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from dhr.dataset.classes import load_classes
from dhr.dataset.original.ade import Ade2016
from dhr.dataset.prepare.preparer import Preparation, Preparer, Sources
from dhr.disk.layout import DataLayout

TABLE = load_classes("ade")
SIZE = (24, 36)  # height, width


def picture(number: int) -> np.ndarray:
    """(H,W,3) uint8: smooth, and another one for every number."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    return np.stack([(rows * 7 + number * 31) % 200, (columns * 5) % 200, (rows + columns) * 3 % 200], 2).astype(
        np.uint8
    )


def labels(number: int, low: int, high: int) -> np.ndarray:
    """(H,W) uint8 with labels from `low` to `high`, both included, in blocks."""
    rng = np.random.default_rng(number)
    blocks = rng.integers(low, high + 1, (SIZE[0] // 6, SIZE[1] // 6))
    return blocks.repeat(6, 0).repeat(6, 1).astype(np.uint8)


def save(path: Path, array: np.ndarray) -> Path:
    """Writes a picture or a grey mask and makes the folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, quality=95)
    return path


def make_ade(root: Path, train: int = 5, validation: int = 3) -> Path:
    """ADEChallengeData2016 with labels 0 to 150; returns its folder."""
    home = root / "ADEChallengeData2016"
    for split, name, count in (("training", "train", train), ("validation", "val", validation)):
        for number in range(1, count + 1):
            image_id = f"ADE_{name}_{number:08d}"
            save(home / "images" / split / f"{image_id}.jpg", picture(number))
            save(home / "annotations" / split / f"{image_id}.png", labels(number, 0, 150))
    return home


def preparer(data: Path, *, transfer: str = "link", workers: int = 1, limit: int | None = None) -> Preparer:
    """Of ADE20K in the folder `data`."""
    layout = DataLayout(data, "ADE2016")
    options = {"transfer": transfer, "workers": workers, "limit": limit}
    return Preparer("ade", layout, TABLE, Ade2016(), **options)  # type: ignore[arg-type]


def prepare(data: Path, source: Path, **options: object) -> Preparation:
    """Prepares ADE20K from `source`."""
    return preparer(data, **options)(Sources(source=source))  # type: ignore[arg-type]


def pack(folder: Path, archive: Path) -> Path:
    """Packs a folder with its own name at the top, as zip or tar by the archive's ending."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
            for path in files:
                packed.write(path, path.relative_to(folder.parent).as_posix())
        return archive
    with tarfile.open(archive, "w:gz" if archive.suffix in (".gz", ".tgz") else "w") as packed:
        for path in files:
            packed.add(path, path.relative_to(folder.parent).as_posix())
    return archive


def hostile_tar(path: Path, name: str, *, link: str | None = None) -> Path:
    """A tar whose one member has a name of its own, or is a symbolic link."""
    with tarfile.open(path, "w") as packed:
        info = tarfile.TarInfo(name)
        if link is None:
            info.size = 4
            packed.addfile(info, io.BytesIO(b"evil"))
        else:
            info.type, info.linkname = tarfile.SYMTYPE, link
            packed.addfile(info)
    return path
