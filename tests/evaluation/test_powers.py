"""Scores of many background powers at once are those of the masks of each power, made and scored one by one."""

import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import TRAIN, Tiny
from torch import Tensor

from dhr.core.errors import InputError
from dhr.dataset.classes import load_classes
from dhr.disk.atomic import read_json
from dhr.disk.image import read_image
from dhr.disk.mask import read_mask
from dhr.disk.soft_maps import encode_maps, grid_of, read_maps
from dhr.evaluation.powers import PowerCounts, flips, power_counts, scores_of_powers
from dhr.evaluation.scores import score_pairs

POWERS = (0.25, 0.5, 1.0, 1.5, 2.0, 4.0, 10.0)
TABLE = load_classes("voc")


def mask_at(maps: Tensor, labels: Tensor, power: float) -> Tensor:
    """The definition: an argmax over background and maps, the background where both are equal."""
    if not len(labels):
        return torch.zeros(maps.shape[1:], dtype=torch.uint8)
    background = (1 - maps.double().amax(0, keepdim=True)) ** power
    scores = torch.cat([background, maps.double()])
    return torch.cat([labels.new_zeros(1), labels])[scores.max(0).indices].to(torch.uint8)


def drawn(seed: int, *, classes: int, size: tuple[int, int] = (13, 9)) -> tuple[Tensor, Tensor, np.ndarray]:
    """Maps that reach 0 and 1, some pixels 0 everywhere, labels in any order, and a truth with some IGNORE."""
    random = torch.Generator().manual_seed(seed)
    maps = torch.rand(classes, *size, generator=random)
    maps = maps / maps.amax((1, 2), keepdim=True)
    maps[:, :2] = 0
    labels = torch.randperm(20, generator=random)[:classes] + 1
    known = torch.cat([torch.tensor([0, 255, 7]), labels])
    truth = known[torch.randint(len(known), size, generator=random)].to(torch.uint8)
    return maps, labels, truth.numpy()


def test_the_power_at_which_a_pixel_flips() -> None:
    top = np.linspace(0.01, 0.99, 99)
    found = flips(top)
    assert np.all(np.diff(found) < 0)
    for factor, is_background in ((0.999, True), (1.001, False)):
        assert np.all(((1 - top) ** (found * factor) >= top) == is_background)
    assert flips(np.array([0.0, 0.5, 1.0])).tolist() == [np.inf, 1.0, 0.0]


def test_scores_are_those_of_the_masks_of_each_power() -> None:
    images = [drawn(seed, classes=seed % 4 + 1) for seed in range(8)]
    images.append((torch.zeros(0, 13, 9), torch.zeros(0, dtype=torch.int64), images[0][2]))
    metric = PowerCounts(len(POWERS), TABLE.num_classes)
    for maps, labels, truth in images:
        counts = power_counts(maps, labels, truth, powers=POWERS, classes=TABLE.num_classes)
        assert counts.sum() == truth.size
        metric.update(torch.from_numpy(counts))
    for power, found in zip(POWERS, scores_of_powers(*metric.compute(), TABLE), strict=True):
        pairs = [(mask_at(maps, labels, power), torch.from_numpy(truth)) for maps, labels, truth in images]
        due = score_pairs(pairs, TABLE)
        np.testing.assert_array_equal(found.confusion, due.confusion)
        for key in ("miou", "mfpr", "mfnr", "small_mfnr", "iou", "fpr", "fnr"):
            np.testing.assert_array_equal(getattr(found, key), getattr(due, key), err_msg=f"{power} {key}")


def test_a_case_by_hand() -> None:
    """Maxima of .2, .5 and .8: background at powers up to 7.21, 1 and .139."""
    maps, labels = torch.tensor([[[0.2, 0.5, 0.8]]]), torch.tensor([3])
    counts = power_counts(maps, labels, np.uint8([[0, 3, 3]]), powers=(0.1, 1.0, 2.0, 8.0), classes=21)
    metric = PowerCounts(4, 21)
    metric.update(torch.from_numpy(counts))
    shown = [
        scores.confusion[[0, 0, 3, 3], [0, 3, 0, 3]].tolist() for scores in scores_of_powers(*metric.compute(), TABLE)
    ]
    assert shown == [[1, 0, 2, 0], [1, 0, 1, 1], [1, 0, 0, 2], [0, 1, 0, 2]]


@pytest.mark.parametrize("size", [(48, 48), (33, 50), (3, 3)])
def test_maps_come_back(tmp_path: Path, size: tuple[int, int]) -> None:
    """A plane is the same on cells of four pixels, but at its rims; classes that are not shown are left out."""
    ramp = torch.linspace(0.1, 0.5, size[0])[:, None] + torch.linspace(0.0, 0.5, size[1])
    maps = torch.stack([torch.zeros(size), ramp, torch.zeros(size), ramp.flip(0)])
    path = tmp_path / "a.safetensors"
    path.write_bytes(encode_maps(maps, first_tag=1))
    found, labels = read_maps(path, size, 21)
    assert labels.tolist() == [2, 4] and found.shape == (2, *size) and found.dtype == torch.float32
    if min(size) > 8:
        inner = (slice(None), slice(4, -4), slice(4, -4))
        torch.testing.assert_close(found[inner], maps[[1, 3]][inner], rtol=0, atol=6e-3)
    path.write_bytes(encode_maps(torch.zeros(4, *size), first_tag=1))
    found, labels = read_maps(path, size, 21)
    assert found.shape == (0, *size) and labels.shape == (0,)


WRONG: dict[str, tuple[Any, str]] = {
    "torn": (lambda path: path.write_bytes(path.read_bytes()[:-3]), "no soft maps"),
    "gone": (Path.unlink, "no soft maps"),
    "other names": (lambda path: save_file({"map": torch.zeros(1)}, path), "no soft maps"),
    "other size": (lambda path: changed(path, maps=torch.zeros(1, 4, 4)), r"shape \(1, 4, 4\): an image of \(33, 50\)"),
    "other labels": (lambda path: changed(path, labels=torch.tensor([21])), "labels that are no class"),
    "no number": (lambda path: changed(path, maps=torch.full((1, 9, 13), torch.nan)), r"outside of \[0,1\]"),
}


def changed(path: Path, **tensors: Tensor) -> None:
    save_file({**load_file(path), **tensors}, path)


@pytest.mark.parametrize("case", WRONG)
def test_wrong_files_are_refused(tmp_path: Path, case: str) -> None:
    damage, said = WRONG[case]
    path = tmp_path / "a.safetensors"
    path.write_bytes(encode_maps(torch.rand(1, 33, 50), first_tag=1))
    damage(path)
    with pytest.raises(InputError, match=f"a.safetensors: .*{said}.*train_wss maps=true"):
        read_maps(path, (33, 50), 21)


@pytest.fixture(scope="module")
def mapped(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Masks of a classifier of before, and its maps."""
    there = tiny.copy(tmp_path_factory.mktemp("mapped"))
    before = {path: path.stat().st_mtime_ns for path in (there.wss / "train").iterdir()}
    there.call("train_wss", "maps=true")
    assert {path: path.stat().st_mtime_ns for path in (there.wss / "train").iterdir()} == before
    return there


def test_maps_are_stored_and_scored(mapped: Tiny, caplog: pytest.LogCaptureFixture) -> None:
    folder, split = mapped.wss / ".maps" / "train", mapped.layout.split("train")
    assert sorted(path.stem for path in folder.iterdir()) == mapped.layout.ids("train")
    for path in folder.iterdir():
        height, width = read_image(split / "image" / f"{path.stem}.jpg").shape[:2]
        assert load_file(path)["maps"].shape[1:] == grid_of((height, width))
    with caplog.at_level(logging.INFO, "dhr.evaluate"):
        mapped.call("evaluate", f"maps={folder}", "dataset=toy", "split=train", "powers=[2.0,0.5]")
    result = read_json(folder.with_name("train.powers.json"))
    table = load_classes("toy")
    for row, power in zip(result["powers"], (0.5, 2.0), strict=True):
        pairs = []
        for path in sorted(folder.iterdir()):
            truth = read_mask(split / "mask" / f"{path.stem}.png").copy()
            maps, labels = read_maps(path, truth.shape, table.num_classes)
            pairs.append((mask_at(maps, labels, power), torch.from_numpy(truth)))
        due = score_pairs(pairs, table)
        assert row["power"] == power
        assert [row[key] for key in ("miou", "mfpr", "mfnr")] == pytest.approx([due.miou, due.mfpr, due.mfnr])
    assert result["best"] == max(result["powers"], key=lambda row: row["miou"])["power"]
    assert result["images"] == TRAIN and "looks at human masks" in result["note"]
    assert "an analysis: looks at human masks of train; no setting is changed" in caplog.text
    assert caplog.text.count("*") == 2


def test_maps_are_continued_and_refused_like_masks(mapped: Tiny, tmp_path: Path) -> None:
    there = mapped.copy(tmp_path)
    folder = there.wss / ".maps" / "train"
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / "train_00003.safetensors").write_bytes(b"torn")
    (folder / "train_00007.safetensors").unlink()
    with pytest.raises(InputError, match="1 maps are missing .*train_wss maps=true, or count and leave"):
        there.call("evaluate", f"maps={folder}", "dataset=toy", "split=train")
    there.call("train_wss", "maps=true")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == whole
    with pytest.raises(InputError, match=r"other settings.*overwrite=true"):
        there.call("train_wss", "maps=true", "seed=2")
    shutil.rmtree(there.wss / "train")
    with pytest.raises(InputError, match="no such folder; use masks="):
        there.call("evaluate", f"masks={there.wss / 'train'}", "dataset=toy", "split=train")


@pytest.mark.parametrize(("words", "said"), [
    (["maps=nowhere", "dataset=toy"], "maps: nowhere: no such folder; use maps=<folder of <id>.safetensors>"),
    (["maps=.", "masks=."], "maps: .: masks is given too"),
    (["maps=."], "dataset: null: whose classes do the maps have"),
    (["maps=.", "dataset=toy", "powers=[]"], "powers: .*allowed"),
    (["maps=.", "dataset=toy", "powers=[0.0]"], "powers: .*out of range"),
    (["maps=.", "dataset=toy", "powers=[1.0,1.0]"], "powers: .*none twice"),
])  # fmt: skip
def test_wrong_words(tiny: Tiny, words: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        tiny.call("evaluate", *words, "split=train")
