"""`make` works wherever DHR_DATA points; `make photos` calls the stages in order, with words that they know."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from originals import save_list, save_picture
from tiny import ROOT, environment

from dhr.config.compose import compose

FOLDERS = ["", "data", "my data", "a (1)'s $x #1", "Bücher", "a:b", "50%", "~/my sets", "~/sets"]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with the Makefile, in which nothing has been made."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).touch()
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / ".installed").touch()
    return tmp_path


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_data_may_lie_in_any_folder(clone: Path, folder: str) -> None:
    there = {**os.environ, "DHR_DATA": folder, "HOME": str(clone / "home")}
    done = subprocess.run(
        ["make", "--dry-run", "demo"], cwd=clone, env=there, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    (start,) = {word for word in done.stdout.split() if word.startswith("backbone.weights=")}
    data = (clone / start.partition("=")[2]).parents[3]
    due = folder.replace("~", str(clone / "home")) or "data"
    assert data.resolve() == (clone / due).resolve()


# make photos

PHOTOS = {"PHOTOS_SEEDS": "1 2", "PHOTOS_OPTIONS": "none dhr truth"}
ONCE = {"PHOTOS_SEEDS": "1", "PHOTOS_OPTIONS": "none dhr"}
ORDER = [
    "prepare", "train_wss", "evaluate", "extract_uss", *["train", "predict", "evaluate"] * 6, "report"
]  # fmt: skip


def make(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Calls make in a folder."""
    given = [f"{key}={value}" for key, value in variables.items()]
    there = {key: value for key, value in os.environ.items() if not key.startswith(("DHR_DATA", "PHOTOS", "MAKE"))}
    return subprocess.run(["make", *words, *given], cwd=folder, env=there, capture_output=True, text=True, check=False)


def commands(folder: Path, **variables: str) -> list[tuple[str, list[str]]]:
    """What `make photos` would call: stage and words, in order."""
    done = make(folder, "--dry-run", "photos", **{"PHOTOS": "/photos", **PHOTOS, **variables})
    assert done.returncode == 0 and done.stderr == ""
    lines = [shlex.split(line) for line in done.stdout.replace("\\\n", " ").splitlines() if " -m dhr." in line]
    return [
        (words[start].removeprefix("dhr."), words[start + 1 :]) for words in lines for start in [words.index("-m") + 1]
    ]


def told(words: list[str]) -> dict[str, str]:
    """key=value words by their key."""
    return {key: value for key, _, value in (word.partition("=") for word in words)}


def test_photos_are_prepared_masked_trained_scored_and_shown_in_this_order(clone: Path) -> None:
    called = commands(clone)
    assert [verb for verb, _ in called] == ORDER
    rows = [told(words) for verb, words in called if verb == "train"]
    assert [(row["name"], row["wss"], row["rebalancing"], row["seed"]) for row in rows] == [
        (
            f"photos-{option}-seed{seed}",
            "truth" if option == "truth" else "cam",
            "dhr" if option == "dhr" else "none",
            seed,
        )
        for seed in ("1", "2")
        for option in ("none", "dhr", "truth")
    ]
    runs = "outputs/voc_photos/runs/photos"
    report = told(called[-1][1])
    assert report == {"run": f"{runs}-dhr-seed1", "compare": f"[{runs}-none-seed1,{runs}-truth-seed1]"}
    assert not any(".weights=" in word or "dataset.folder=" in word for _, words in called for word in words)


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"PHOTOS": "a (1)'s $x", "PHOTOS_WEIGHTS": "my weights/lite 0.pt"},
        {
            "PHOTOS_LIMIT": "40",
            "PHOTOS_LABELS": "label_maker=ema refresh=step",
            "PHOTOS_TRAIN": "dataset.max_epochs=2",
        },
    ],
)
def test_the_words_of_photos_are_understood(clone: Path, variables: dict[str, str]) -> None:
    limit, weights = variables.get("PHOTOS_LIMIT", "null"), variables.get("PHOTOS_WEIGHTS")
    usual = "PHOTOS_LABELS" not in variables
    for verb, words in commands(clone, **ONCE, **variables):
        if verb in ("predict", "evaluate", "report"):  # these read a run, or masks, that are not there
            continue
        cfg = compose(verb, words)
        assert cfg.dataset.folder == ("VOCPhotos" if limit == "null" else "VOCPhotos_40")
        if verb == "prepare":
            assert (cfg.source, cfg.limit) == (variables.get("PHOTOS", "/photos"), None if limit == "null" else 40)
        elif weights:
            keys = {"train_wss": ["cam.backbone"], "extract_uss": ["uss.tokens"], "train": ["backbone", "uss.tokens"]}
            assert {OmegaConf.select(cfg, f"{key}.weights") for key in keys[verb]} == {weights}
        if verb == "train":
            makes_labels = cfg.rebalancing.rebalancer is not None
            assert cfg.refresh._target_.endswith("Rounds" if usual and makes_labels else "EveryStep")
            assert cfg.dataset.max_epochs == (8 if usual else 2)
            prefix = "photos" if usual else "photos_40_label_maker_ema_refresh_step_dataset.max_epochs_2"
            assert cfg.name.startswith(f"{prefix}-")


def test_photos_go_on_where_they_stopped(clone: Path) -> None:
    made = ["data/WSS/VOCPhotos/CAM/.trained", "data/WSS/VOCPhotos/CAM/.scored", "data/VOCPhotos/.extracted"]
    made += [f"outputs/voc_photos/runs/photos-{option}-seed1/scores/validation.json" for option in ("none", "dhr")]
    for name in made:
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        (clone / name).touch()
    called = commands(clone)
    assert [verb for verb, _ in called] == ["prepare", *["train", "predict", "evaluate"] * 4, "report"]
    said = make(clone, "--dry-run", "photos", PHOTOS="/photos", **PHOTOS).stdout.replace("\\\n", " ")
    (before,) = [line for line in said.splitlines() if "before_photos.py" in line]
    labels = "label_maker=ema refresh=round refresh.epochs=3"
    rows = ["wss=cam rebalancing=none", f"wss=cam rebalancing=dhr {labels}", "wss=truth rebalancing=none"]
    assert shlex.split(before)[-6:] == ["/photos", "null", "4", *rows]


@pytest.mark.parametrize("variables", [{}, {"PHOTOS": ""}, {"PHOTOS_LIMIT": "40"}])
def test_photos_are_asked_for(clone: Path, variables: dict[str, str]) -> None:
    done = make(clone, "photos", **variables)
    assert done.returncode == 2 and done.stdout == ""
    assert (
        done.stderr.startswith("PHOTOS: not given; which photographs?") and "make photos PHOTOS=<folder>" in done.stderr
    )


def test_the_time_is_said_before_work_begins(tmp_path: Path) -> None:
    home = tmp_path / "VOCdevkit" / "VOC2012"
    save_picture(home / "JPEGImages" / "0.jpg")
    lists = home / "ImageSets" / "Segmentation"
    save_list(lists / "train.txt", [f"2007_{number:06d}" for number in range(3606)])
    save_list(lists / "val.txt", ["2008_000001"])

    def time(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "scripts/before_photos.py", *words]
        return subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)

    assert "3606 training images; 12 runs to be made, of at most 78 minutes" in time(str(tmp_path), "null", "12").stdout
    assert "40 training images; 1 run to be made, of at most 3 minutes" in time(str(tmp_path), "40", "1").stdout
    assert time(str(tmp_path), "40", "0").stdout == "40 training images; all runs are made\n"
    refused = time(str(tmp_path / "nowhere"), "null", "12")
    assert refused.returncode == 2 and refused.stderr.startswith("PHOTOS: ") and refused.stdout == ""
    for few in ("few", "0", "-1"):
        assert time(str(tmp_path), few, "12").stderr.startswith(f"PHOTOS_LIMIT: {few}: not a number of images")
    for row in ("rebalancing=dhrr", "rebalancing=none refresh=round", "rebalancing=dhr dataset.max_epochs=0"):
        refused = time(str(tmp_path), "40", "1", "wss=truth rebalancing=none", row)
        key = row.split()[-1].partition("=")[0].removeprefix("dataset.")
        assert refused.returncode == 2 and key in refused.stderr.splitlines()[-1] and refused.stdout == ""
