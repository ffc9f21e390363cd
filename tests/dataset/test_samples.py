"""The whole way through the program, from each original download to scores, on real photographs where they are at hand.

Without them the same way is gone with made pictures in the form of two of the downloads.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from downloads import make_ade
from PIL import Image
from samples import LEARNING, REAL, VALIDATING
from tiny import NETWORK, Tiny

from dhr.config.compose import compose
from dhr.dataset.classes import load_classes
from dhr.disk.atomic import read_json
from dhr.disk.image import read_image
from dhr.disk.layout import DataLayout
from dhr.disk.mask import read_mask, write_mask

TRAINING = (
    "name=short", "backbone=resnet18", "backbone.weights=null", "wss=truth", "uss=colour", *NETWORK,
    "dataset.crop_size=96", "dataset.long_side=[90,120]", "dataset.batch_size=2", "dataset.workers=0",
    "trainer.max_steps=2", "trainer.accelerator=cpu", "crf.workers=0", "crf.iterations=2",
)  # fmt: skip
PREDICTION = ("scales=[0.25,0.5]", "crf.iterations=2", "crf.workers=0")


def made_voc(root: Path, _: Path) -> Path:
    """Pictures of unequal sizes in the layout of the download: a rectangle of one class, with an edge to ignore."""
    voc, rng = root / "VOCdevkit" / "VOC2012", np.random.default_rng(0)
    ids = [f"2007_{number:06d}" for number in range(1, LEARNING + VALIDATING + 1)]
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (voc / folder).mkdir(parents=True)
    for name, listed in (("train", ids[:LEARNING]), ("val", ids[LEARNING:])):
        (voc / "ImageSets" / "Segmentation" / f"{name}.txt").write_text("\n".join(listed))
    for label, image_id in enumerate(ids, start=1):
        mask = np.zeros((100 + 7 * label, 120), np.uint8)
        mask[19:61, 29:81], mask[20:60, 30:80] = 255, label
        pixels = rng.integers(0, 60, (*mask.shape, 3)) + (mask == label)[:, :, None] * 20 * label
        Image.fromarray(pixels.astype(np.uint8)).save(voc / "JPEGImages" / f"{image_id}.jpg")
        write_mask(voc / "SegmentationClass" / f"{image_id}.png", mask, load_classes("voc").palette)
    return voc.parent


DOWNLOADS: dict[str, tuple[str, Callable[[Path, Path], Path]]] = {
    "made voc": ("voc", made_voc),
    "made ade": ("ade", lambda root, _: make_ade(root, LEARNING, VALIDATING)),
    **{name: (name, download) for name, download in REAL.items()},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", DOWNLOADS)
def test_from_the_download_to_scores(tmp_path: Path, name: str, request: pytest.FixtureRequest) -> None:
    samples = tmp_path if name.startswith("made") else request.getfixturevalue("shared") / "samples"
    dataset, download = DOWNLOADS[name]
    there, chosen = Tiny(tmp_path), f"dataset={dataset}"
    there.call("prepare", chosen, f"source={download(tmp_path, samples)}")
    there.call("audit", chosen)
    audit = read_json(tmp_path / "outputs" / dataset / "audit" / "audit.json")
    assert not [finding for finding in audit["findings"] if finding["severity"] == "broken"]
    there.call("extract_uss", chosen, "uss=colour")
    there.call("train", chosen, *TRAINING)
    run = tmp_path / "outputs" / dataset / "runs" / "short"
    assert read_json(run / "run.json")["steps"] == 2
    there.call("predict", f"run={run}", *PREDICTION)
    check_predictions(there, dataset, run)
    there.call("evaluate", f"run={run}")
    scores = read_json(run / "scores" / "validation.json")
    data = layout_of(there, dataset)
    ids = data.ids("validation")
    assert (scores["images"], scores["missing"], scores["extra"]) == (len(ids), 0, 0)
    counted = sum(int((read_mask(data.mask("validation", image_id)) != 255).sum()) for image_id in ids)
    assert np.array(scores["confusion"]).sum() == counted


def layout_of(there: Tiny, dataset: str) -> DataLayout:
    """Where the data set lies."""
    return DataLayout(there.root / "data", compose("prepare", [f"dataset={dataset}"]).dataset.folder)


def check_predictions(there: Tiny, dataset: str, run: Path) -> None:
    """Every image of the split has a mask of its size that holds classes only."""
    data = layout_of(there, dataset)
    for image_id in data.ids("validation"):
        mask = read_mask(run / "masks" / "validation" / f"{image_id}.png")
        assert mask.shape == read_image(data.image("validation", image_id)).shape[:2]
        assert mask.max() < load_classes(dataset).num_classes
