"""The example of docs/own_images.md, as it stands there, on drawn images that lie around as files."""

import importlib
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny import DATASET, NETWORK, ON_CPU, ROOT, TRAIN, Tiny

from dhr.config.compose import compose
from dhr.core.errors import InputError
from dhr.dataset.classes import load_classes
from dhr.disk.annotation import read_tags
from dhr.disk.atomic import read_json
from dhr.disk.image import read_image
from dhr.disk.layout import DataLayout, RunFolder
from dhr.disk.mask import read_mask

MOST = 6  # commands from images and tags to masks
SIZES = tuple(word for word in DATASET if "generate" not in word and "image_size" not in word)
SMALL = {  # a network that is quick to learn, and nothing to fetch
    "train_wss": (*SIZES, *ON_CPU, "cam=scratch", "cam.epochs=1", "cam.backbone.widths=[8,16,32,64]"),
    "extract_uss": ("uss=colour",),
    "train": (*SIZES, *ON_CPU, *NETWORK, "uss=colour", "backbone=resnet18_half", "optimizer=adamw"),
    "predict": ("crf=none",),
}


def commands(behind: str = "# Your own images") -> list[list[str]]:
    """The words of every command of the first example behind a title."""
    lines = [line.strip() for line in (ROOT / "docs" / "own_images.md").read_text(encoding="utf-8").splitlines()]
    title = lines.index(behind)
    first = next(number for number, line in enumerate(lines) if number > title and line.startswith("python -m dhr."))
    return [shlex.split(line.removeprefix("python -m dhr.")) for line in lines[first : lines.index("", first)]]


def run_all(commands: list[list[str]]) -> None:
    for verb, *words in commands:
        importlib.import_module(f"dhr.{verb}").main.run(compose(verb, [*words, *SMALL.get(verb, ())]))


@pytest.fixture
def photos(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a folder of images, a tag file beside it, and nothing else."""
    names, rows = load_classes("toy").names, ["image,tags"]
    (tmp_path / "photos").mkdir()
    for image_id in tiny.layout.ids("train"):
        path = tiny.layout.image("train", image_id)
        (tmp_path / "photos" / path.name).write_bytes(path.read_bytes())
        rows.append(f"{path.name},{';'.join(read_tags(tiny.layout.tags('train', image_id), names))}")
    (tmp_path / "tags.csv").write_text("\n".join(rows))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DHR_DATA", raising=False)
    return tmp_path


@pytest.mark.slow
def test_the_example_works_as_it_stands(photos: Path) -> None:
    assert len(commands()) <= MOST
    run_all(commands())
    data, run = DataLayout(photos / "data", "pets"), RunFolder(photos / "outputs" / "pets" / "runs" / "first")
    names = read_json(data.home / "pets.json")["names"]
    assert run.is_finished and names[0] == "background" and {*names} <= {*load_classes("toy").names}
    for image_id in data.ids("validation"):
        mask = read_mask(run.masks("validation") / f"{image_id}.png")
        assert mask.shape == read_image(data.image("validation", image_id)).shape[:2] and mask.max() < len(names)
    assert "The truth of split validation is not on this machine" in run.report.read_text(encoding="utf-8")
    with pytest.raises(InputError, match="no human mask of split validation"):
        importlib.import_module("dhr.evaluate").main.run(compose("evaluate", [f"run={run.root}"]))
    assert {path.name for path in photos.iterdir()} == {"photos", "tags.csv", "data", "outputs"}
    shutil.copytree(photos / "photos", photos / "untagged")
    run_all(commands("## Rounds over images without tags"))
    rows = dict(row.split(",") for row in (photos / "second" / "tags.csv").read_text(encoding="utf-8").splitlines()[1:])
    assert len(rows) == TRAIN
    for name, tags in rows.items():
        seen = {names[label] for label in np.unique(read_mask(photos / "second" / "masks" / f"{Path(name).stem}.png"))}
        assert {*tags.split(";")} - {""} == seen - {"background"}
    assert RunFolder(photos / "outputs" / "more" / "runs" / "round2").is_finished
