"""Every data set from its download to its scores: the truth scores 100, and moved masks what slow loops count."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import reference
from test_samples import DOWNLOADS, layout_of
from tiny import Tiny

from dhr.dataset.classes import load_classes
from dhr.disk.atomic import read_json
from dhr.disk.mask import read_mask, write_mask

SETS = {**DOWNLOADS, "context60": ("context60", DOWNLOADS["context"][1])}


@pytest.fixture(params=SETS)
def prepared(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[Tiny, str]:
    """A prepared data set and its name."""
    dataset, download = SETS[request.param]
    samples = tmp_path if request.param.startswith("made") else request.getfixturevalue("shared") / "samples"
    there = Tiny(tmp_path)
    there.call("prepare", f"dataset={dataset}", f"source={download(tmp_path, samples)}", "limit=3")
    return there, dataset


def test_the_truth_and_what_is_not_quite_it(prepared: tuple[Tiny, str]) -> None:
    there, dataset = prepared
    layout, table = layout_of(there, dataset), load_classes(dataset)
    truths = layout.split("validation") / "mask"
    shutil.copytree(truths, there.root / "same")
    pairs = []
    for path in sorted(truths.iterdir()):
        truth = read_mask(path)
        moved = np.roll(np.where(truth == 255, 0, truth), (3, 5), (0, 1)).astype(np.uint8)
        write_mask(there.root / "moved" / path.name, moved, table.palette)
        pairs.append((moved, truth))
    found = {}
    for name in ("same", "moved"):
        there.call("evaluate", f"dataset={dataset}", f"masks={there.root / name}")
        found[name] = read_json(there.root / f"{name}.validation.scores.json")
    same, moved = found["same"], found["moved"]
    assert (same["miou"], same["boundary"]["miou"], same["miou_interval"]) == (100, 100, [100, 100])
    assert all(row["recall"] in (1, None) and row["found"] in (1, None) for row in same["objects"])
    assert [entry["name"] for entry in same["classes"]] == list(table.names)
    slow = reference.scores(pairs, table.num_classes)
    ours = [np.nan if entry["iou"] is None else entry["iou"] / 100 for entry in moved["classes"]]
    np.testing.assert_allclose(ours, slow["iou"], atol=1e-12)
    assert moved["miou"] == pytest.approx(100 * np.nanmean(slow["iou"]))
    assert moved["miou_interval"][1] < 100 and moved["boundary"]["miou"] < 100


def test_context_with_its_background(tmp_path: Path, shared: Path) -> None:
    there, masks = Tiny(tmp_path), {}
    for dataset in ("context", "context60"):
        there.call("prepare", f"dataset={dataset}", f"source={shared / 'samples' / 'pascal_context'}")
        folder = layout_of(there, dataset).split("validation") / "mask"
        masks[dataset] = {path.name: read_mask(path) for path in folder.iterdir()}
    assert masks["context"].keys() == masks["context60"].keys() and masks["context"]
    for name, mask in masks["context"].items():
        assert np.array_equal(masks["context60"][name], np.where(mask == 255, 0, mask + 1))
