"""The VOC way through the program, on real photographs where they are at hand and on made pictures everywhere."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import Tiny

from dhr.artifacts import DataLayout, read_image, read_json, read_mask, write_mask
from dhr.dataset.classes import load_classes

PHOTOGRAPHS = Path(__file__).resolve().parents[2] / "shared" / "samples" / "voc2012" / "VOCdevkit" / "VOC2012"
TABLE = load_classes("voc")
LEARNING, VALIDATING = 6, 3  # images
TRAINING = (
    "dataset=voc", "name=short", "backbone=resnet18", "backbone.weights=null", "wss=truth", "uss=colour",
    "dataset.crop_size=96", "dataset.long_side=[90,120]", "dataset.batch_size=2", "dataset.workers=0",
    "trainer.max_steps=2", "trainer.accelerator=cpu", "crf.workers=0",
)  # fmt: skip
PREDICTION = ("scales=[0.25,0.5]", "crf.iterations=2", "crf.workers=0")


def few_photographs(voc: Path) -> None:
    """The real download with short lists."""
    for path in PHOTOGRAPHS.iterdir():
        if path.name != "ImageSets":
            (voc / path.name).symlink_to(path)
    for name, count in (("train", LEARNING), ("train_aug", LEARNING), ("val", VALIDATING)):
        ids = (PHOTOGRAPHS / "ImageSets" / "Segmentation" / f"{name}.txt").read_text().split()
        (voc / "ImageSets" / "Segmentation" / f"{name}.txt").write_text("\n".join(ids[:count]))


def made_pictures(voc: Path) -> None:
    """Pictures of unequal sizes in the layout of the download: a rectangle of one class, with an edge to ignore."""
    rng = np.random.default_rng(0)
    ids = [f"2007_{number:06d}" for number in range(1, LEARNING + VALIDATING + 1)]
    for folder in ("JPEGImages", "SegmentationClass"):
        (voc / folder).mkdir()
    for name, listed in (("train", ids[:LEARNING]), ("val", ids[LEARNING:])):
        (voc / "ImageSets" / "Segmentation" / f"{name}.txt").write_text("\n".join(listed))
    for label, id in enumerate(ids, start=1):
        mask = np.zeros((100 + 7 * label, 120), np.uint8)
        mask[19:61, 29:81], mask[20:60, 30:80] = 255, label
        pixels = rng.integers(0, 60, (*mask.shape, 3)) + (mask == label)[:, :, None] * 20 * label
        Image.fromarray(pixels.astype(np.uint8)).save(voc / "JPEGImages" / f"{id}.jpg")
        write_mask(voc / "SegmentationClass" / f"{id}.png", mask, TABLE.palette)


@pytest.mark.slow
@pytest.mark.parametrize("source", [few_photographs, made_pictures])
def test_from_the_download_to_scores(tmp_path: Path, source: Callable[[Path], None]) -> None:
    if source is few_photographs and not PHOTOGRAPHS.is_dir():
        source = made_pictures
    voc, there = tmp_path / "VOCdevkit" / "VOC2012", Tiny(tmp_path)
    (voc / "ImageSets" / "Segmentation").mkdir(parents=True)
    source(voc)
    there.call("prepare", "dataset=voc", f"source={voc.parent}", "transfer=copy")
    there.call("extract_uss", "dataset=voc", "uss=colour")
    there.call("train", *TRAINING)
    run = tmp_path / "outputs" / "voc" / "runs" / "short"
    assert read_json(run / "run.json")["steps"] == 2
    there.call("predict", f"run={run}", *PREDICTION)
    data = DataLayout(tmp_path / "data", "VOC2012")
    ids = data.ids("validation")
    for id in ids:
        mask = read_mask(run / "masks" / "validation" / f"{id}.png")
        assert mask.shape == read_image(data.image("validation", id)).shape[:2]
        assert mask.max() < TABLE.num_classes
    (run / "masks" / "validation" / f"{ids[0]}.png").unlink()
    there.call("evaluate", f"run={run}", "allow_missing=true")
    scores = read_json(run / "scores" / "validation.json")
    assert (scores["images"], scores["missing"], scores["extra"]) == (VALIDATING - 1, 1, 0)
    counted = sum(int((read_mask(data.mask("validation", id)) != 255).sum()) for id in ids[1:])
    assert np.array(scores["confusion"]).sum() == counted
