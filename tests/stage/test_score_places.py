"""Where scores of a folder of masks lie: beside it, and never where those of another folder or split lie."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import SIDE, Tiny

from dhr.dataset.toy.toy_set import write_toy
from dhr.disk.atomic import read_json
from dhr.disk.mask import read_mask


@pytest.fixture
def there(tmp_path: Path) -> Tiny:
    """Images with their truth."""
    write_toy(tmp_path / "data", splits={"train": 1, "validation": 3}, image_size=SIDE)
    return Tiny(tmp_path)


PLACES: list[tuple[str, str]] = [
    ("good", "good.validation.scores.json"), ("validation", "validation.scores.json"),
    ("two words", "two words.validation.scores.json"), ("a.b", "a.b.validation.scores.json"),
    ("good/../good", "good.validation.scores.json"), ("validation/.", "validation.scores.json"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "scores"), PLACES)
def test_scores_lie_beside_their_folder_under_its_name(there: Tiny, name: str, scores: str) -> None:
    folder = there.root / "masks" / Path(os.path.normpath(name))
    shutil.copytree(there.layout.split("validation") / "mask", folder)
    there.call("evaluate", "dataset=toy", f"masks='{there.root}/masks/{name}'")
    written = {str(Path(scores).with_suffix(ending)) for ending in (".json", ".csv", ".md")}
    assert {path.name for path in folder.parent.iterdir()} == {folder.name, *written}


def test_scores_of_two_folders_are_both_kept(there: Tiny) -> None:
    truth, folders = (
        there.layout.split("validation") / "mask",
        [there.root / "masks" / name for name in ("good", "nil")],
    )
    for folder in folders:
        shutil.copytree(truth, folder)
    for path in folders[1].iterdir():
        Image.fromarray(np.zeros_like(read_mask(path))).save(path)
    for folder in folders:
        there.call("evaluate", "dataset=toy", f"masks={folder}")
    found = [read_json(folder.with_name(f"{folder.name}.validation.scores.json"))["miou"] for folder in folders]
    assert found[0] == pytest.approx(100) and found[1] < 50
