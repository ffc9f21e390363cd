"""What a training is compared with: the settings that it depends on, and no others."""

import json
import shutil
from pathlib import Path

import pytest
from tiny import NETWORK, TRAIN, Tiny

from dhr.config.compose import compose
from dhr.config.tree import options
from dhr.core.errors import InputError
from dhr.disk.atomic import read_json, write_json
from dhr.stage.train_wss import recipe_of, workshop_of

METHODS: dict[str, tuple[str, str, tuple[str, ...], tuple[str, ...], str]] = {
    # folder, network, words, other words of masks alone, another word of the training
    "cam": ("CAM", "classifier", (), ("cam.scales=[1.0]", "cam.flip=false", "cam.gamma=1.0"), "cam.epochs=2"),
    "irn": ("IRN", "edges", ("wss.recipe.epochs=1",),
            ("wss.recipe.walk.radius=2", "wss.recipe.damping=0", "wss.recipe.floor=0.5"), "wss.recipe.foreground=0.5"),
    "mars": ("MARS", "network", ("dataset.max_epochs=1",), ("wss.recipe.scales=[0.5]", "wss.recipe.flip=false"),
             "wss.recipe.kept=0.5"),
    "rsepm": ("RSEPM", "network", ("wss.recipe.epochs=2", "wss.recipe.scales=[1.0]", "wss.recipe.flip=false"),
              ("wss.recipe.scales=[0.5]", "wss.recipe.flip=true", "wss.recipe.gamma=1.0"), "wss.recipe.seed_start=0.5"),
}  # fmt: skip


@pytest.fixture(scope="module", params=METHODS)
def made(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> tuple[Tiny, str]:
    there = tiny.copy(tmp_path_factory.mktemp(request.param))
    there.call("train_wss", f"wss={request.param}", *NETWORK, *METHODS[request.param][2])
    return there, request.param


def copied(made: tuple[Tiny, str], root: Path) -> tuple[Tiny, Path, list[str]]:
    there, method = made[0].copy(root), made[1]
    return there, there.wss.parent / METHODS[method][0], [f"wss={method}", *NETWORK, *METHODS[method][2]]


def test_what_decides_about_masks_alone_trains_nothing_anew(made: tuple[Tiny, str], tmp_path: Path) -> None:
    there, folder, words = copied(made, tmp_path)
    _, network, _, other, _ = METHODS[made[1]]
    with pytest.raises(InputError, match=f"/train: its masks .*wss.masks={folder}/<name> leaves them alone"):
        there.call("train_wss", *words, *other)
    before = there.times()
    there.call("train_wss", *words, *other, f"wss.masks={folder}/second")
    after = there.times()
    assert len([*(folder / "second").glob("*.png")]) == TRAIN
    assert all(after[path] == time for path, time in before.items())
    names = {word.partition("=")[0].split(".")[2 if "recipe" in word else 1] for word in other}
    whole, learnt = (read_json(path)["recipe"] for path in (folder / "second.json", folder / "recipe.json"))
    assert {*whole} - {*learnt} == names and (folder / f"{network}.safetensors").exists()


def test_what_decides_about_the_training_is_refused(made: tuple[Tiny, str], tmp_path: Path) -> None:
    there, folder, words = copied(made, tmp_path)
    shutil.rmtree(folder / "train")
    with pytest.raises(InputError, match=rf"{METHODS[made[1]][1]}\.safetensors: .*other settings \(recipe in"):
        there.call("train_wss", *words, METHODS[made[1]][4])


def test_records_that_hold_more_are_those_of_the_same_training(made: tuple[Tiny, str], tmp_path: Path) -> None:
    """Before, a training and the masks that it learnt wrote down the whole recipe."""
    there, folder, words = copied(made, tmp_path)
    whole = read_json(folder / "train.json")["recipe"]
    records = [folder / "recipe.json", *(path for path in folder.glob(".*/train.json"))]
    for record in records:
        write_json(record, {**read_json(record), "recipe": whole})
    before = there.times()
    there.call("train_wss", *words)
    (folder / "train" / "train_00003.png").unlink()
    there.call("train_wss", *words)
    after = there.times()
    assert [path for path, time in before.items() if after[path] != time and path.suffix != ".jsonl"] == [
        folder / "train" / "train_00003.png"
    ]


@pytest.mark.parametrize("crf", options("crf"))
def test_settings_of_every_crf_can_be_written_down(tiny: Tiny, crf: str) -> None:
    cfg = compose("train_wss", ["dataset=toy", f"paths.data={tiny.root / 'data'}", f"crf={crf}"])
    shop = workshop_of(cfg, recipe_of(cfg, cfg.wss.recipe))
    assert json.loads(json.dumps(shop.crf_settings)) == shop.crf_settings
