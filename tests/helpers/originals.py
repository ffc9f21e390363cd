"""What the tests of the readers of original downloads share."""

import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from dhr.dataset.original.interface import Download, Example, Given, Original, Roots

SIZE = (12, 16)  # height, width of made pictures


def given(source: Path | list[Path], *, class_order: str | None = None, **more: Path) -> Given:
    """Arguments of prepare, as the command hands them over."""

    def roots(name: str, folders: list[Path]) -> Roots:
        return Roots(f"{name}: {folders[0]}", tuple(folders))

    sources = source if isinstance(source, list) else [source]
    return Given(
        roots("source", sources),
        **{name: roots(name, [folder]) for name, folder in more.items()},
        class_order=class_order,
    )


def opened(download: Download, arguments: Given) -> Original:
    """The original as another process gets it."""
    return pickle.loads(pickle.dumps(download.open(arguments)))


def ids(original: Original) -> Mapping[str, list[str]]:
    """Ids of all splits, after a check of their form."""
    for listed in original.splits.values():
        assert listed.dtype.kind == "S" and (np.sort(listed) == listed).all()
    return {split: [image_id.decode() for image_id in listed] for split, listed in original.splits.items()}


def examples(original: Original) -> Iterator[Example]:
    """Every example of every split."""
    return (original.example(split, image_id) for split, listed in ids(original).items() for image_id in listed)


def mask_of(example: Example) -> np.ndarray:
    """Its mask, after a check of its form."""
    assert example.mask is not None
    mask = example.mask.read()
    assert mask.dtype == np.uint8 and mask.ndim == 2
    return mask


def png(path: Path) -> np.ndarray:
    """A palette or grey PNG as Pillow gives it: the reference of masks that are looked up."""
    return np.array(Image.open(path))


def save(path: Path, array: np.ndarray) -> None:
    """Writes a picture or a grey mask, and makes the folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def save_picture(path: Path) -> None:
    """A grey picture of SIZE."""
    save(path, np.full((*SIZE, 3), 90, np.uint8))


def save_list(path: Path, listed: list[str]) -> None:
    """A list of ids, one per line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(listed) + "\n")
