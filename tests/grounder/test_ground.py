"""`dhr.ground` as a command: its folders and settings, what it does twice, and what it refuses."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from complaints import complaint
from grounders_of import saved_grounding_dino, saved_sam, saved_sam3
from PIL import Image
from several import begun, ended, exit_code, finish_two
from tiny import SIDE, Tiny, environment

from dhr.config.compose import compose
from dhr.config.parts import without_saw
from dhr.config.provenance import letters_of
from dhr.core.errors import InputError
from dhr.dataset.classes import load_classes
from dhr.dataset.toy.toy_set import write_toy
from dhr.disk.annotation import read_tags
from dhr.disk.atomic import read_json
from dhr.disk.mask import read_mask
from dhr.stage.installation import findings

IMAGES = 6
NAMES = ("ember_disc", "ember_cross", "ember_triangle", "moss_square", "moss_ring")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, ...]]:
    """What is typed for each grounder."""
    root = tmp_path_factory.mktemp("models")
    dino, sam, sam3 = saved_grounding_dino(root / "dino"), saved_sam(root / "sam"), saved_sam3(root / "sam3")
    segmenter = f"grounder.segmenter.weights={sam}"
    return {
        "GroundingDINO+SAM": ("grounder=grounding_dino", f"grounder.weights={dino}", segmenter),
        "Ferret+SAM": ("grounder=ferret", segmenter),
        "SAM3": ("grounder=sam3", f"grounder.weights={sam3}", "grounder.threshold=0.24"),
    }


@pytest.fixture
def there(tmp_path: Path) -> Tiny:
    write_toy(tmp_path / "data", splits={"train": 1, "validation": IMAGES}, image_size=SIDE)
    return Tiny(tmp_path)


def masks(there: Tiny, method: str) -> Path:
    return there.root / "data" / "OVSeg" / "Toy" / method / "validation"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.png")}


def boxes(there: Tiny, *changes: dict[str, object]) -> str:
    """Two boxes of every image but the last, in a file."""
    lines = [
        {
            "image": f"validation_{number:05d}", "class": NAMES[number % 4 + more], "score": 0.5 + 0.1 * more,
            "box": [2 + 9 * more, 1, 40, 30 + number],
        }
        for number in range(IMAGES - 1) for more in range(2)
    ]  # fmt: skip
    (there.root / "boxes.jsonl").write_text("\n".join(map(json.dumps, [*lines, *changes])))
    return f"grounder.boxes={there.root}/boxes.jsonl"


def words(there: Tiny, models: dict[str, tuple[str, ...]], method: str) -> tuple[str, ...]:
    return (*models[method], boxes(there)) if method == "Ferret+SAM" else models[method]


@pytest.mark.parametrize("method", ["GroundingDINO+SAM", "Ferret+SAM", "SAM3"])
def test_the_whole_path(there: Tiny, models: dict[str, tuple[str, ...]], method: str) -> None:
    """Palette PNGs that evaluate scores and a second call leaves alone; what was deleted or changed is made anew."""
    typed, folder = words(there, models, method), masks(there, method)
    there.call("ground", *typed)
    made = contents(folder)
    assert len(made) == IMAGES
    with Image.open(next(folder.glob("*.png"))) as picture:
        assert picture.mode == "P" and picture.size == (SIDE, SIDE)
    settings = read_json(folder.with_suffix(".json"))
    assert (settings["method"], settings["prompts"]) == (method, "classes")
    assert settings["words"][:2] == ["ember disc", "ember cross"]
    there.call("evaluate", f"masks={folder}", "dataset=toy", "split=validation")
    assert (folder.parent / "validation.scores.json").is_file()
    times = there.times()
    there.call("ground", *typed)
    assert there.times() == times
    (folder / "validation_00001.png").unlink()
    (folder / "validation_00003.png").write_bytes(made["validation_00000.png"])
    there.call("ground", *typed)
    assert contents(folder) == made


def test_with_tags_only_these_are_found(there: Tiny, models: dict[str, tuple[str, ...]]) -> None:
    """Named in the folder, in the settings and in the letters; other tags make another mask of that image alone."""
    typed = (*models["SAM3"], "prompts=tags")
    there.call("ground", *typed)
    folder = masks(there, "SAM3+tags")
    table = load_classes("toy").names
    for path in folder.glob("*.png"):
        tags = read_tags(there.layout.tags("validation", path.stem), table[1:])
        assert {table[label] for label in np.unique(read_mask(path))} <= {"background", *tags}
    settings = read_json(folder.with_suffix(".json"))
    assert (settings["prompts"], settings["saw"]) == ("tags", "TMK")
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.png")}
    first = there.layout.tags("validation", "validation_00000")
    first.write_bytes(there.layout.tags("validation", "validation_00001").read_bytes())
    there.call("ground", *typed)
    after = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.png")}
    assert [name for name in before if before[name] != after[name]] == ["validation_00000.png"]


def test_masks_of_other_settings_are_not_mixed_in(
    there: Tiny, models: dict[str, tuple[str, ...]], tmp_path: Path
) -> None:
    there.call("ground", *models["SAM3"])
    with pytest.raises(
        InputError, match=r"made with other settings \(threshold in .*output=<folder> leaves them alone"
    ):
        there.call("ground", *models["SAM3"], "grounder.threshold=0.3")
    other = saved_sam3(tmp_path / "other", seed=1)
    with pytest.raises(InputError, match=r"made with other settings \(model in "):
        there.call("ground", *models["SAM3"], f"grounder.weights={other}")
    before = there.times()
    there.call("ground", *models["SAM3"], "grounder.threshold=0.3", f"output={tmp_path}/beside")
    assert len(contents(tmp_path / "beside")) == IMAGES
    assert {path: there.times()[path] for path in before} == before
    there.call("ground", *models["SAM3"], "grounder.at_once=2")  # how it is computed is no setting


def test_boxes_that_are_added_change_their_image_alone(there: Tiny, models: dict[str, tuple[str, ...]]) -> None:
    folder = masks(there, "Ferret+SAM")
    there.call("ground", *models["Ferret+SAM"], boxes(there))
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.png")}
    last = {"image": f"validation_{IMAGES - 1:05d}", "class": "moss ring", "box": [0, 0, SIDE, SIDE], "score": 1.0}
    there.call("ground", *models["Ferret+SAM"], boxes(there, last))
    after = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.png")}
    assert [name for name in sorted(before) if before[name] != after[name]] == [f"validation_{IMAGES - 1:05d}.png"]
    with pytest.raises(
        InputError, match=r"boxes\.jsonl: line 11: box: .*: not inside validation_00005; x from 0 to 48"
    ):
        there.call("ground", *models["Ferret+SAM"], boxes(there, {**last, "box": [0, 0, SIDE + 1, SIDE]}))


def test_without_a_background_every_pixel_is_a_class(tmp_path: Path, models: dict[str, tuple[str, ...]]) -> None:
    """Also where nothing is above the threshold, and without tags; boxes that lack for an image are told."""
    split = tmp_path / "data" / "PascalContext" / "validation"
    for number in range(2):
        pixels = np.random.default_rng(number).integers(0, 256, (20, 30, 3), np.uint8)
        for kind in ("image", "xml"):
            (split / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(split / "image" / f"{number}.jpg")
        tags = "<object><name>sky</name></object><object><name>cat</name></object>" if number else ""
        (split / "xml" / f"{number}.xml").write_text(f"<annotation>{tags}</annotation>")
    there, folder = Tiny(tmp_path), tmp_path / "masks"
    for threshold in (0.24, 1.0):
        for prompts in ("classes", "tags"):
            settings = (f"grounder.threshold={threshold}", f"prompts={prompts}", f"output={folder}", "overwrite=true")
            there.call("ground", "dataset=context", *models["SAM3"], *settings)
            found = [{*np.unique(read_mask(folder / f"{number}.png")).tolist()} for number in range(2)]
            assert all(labels and max(labels) < 59 for labels in found)
            if threshold == 1:
                assert [len(labels) for labels in found] == [1, 1]
    (tmp_path / "boxes.jsonl").write_text('{"image": "0", "class": "cat", "box": [1, 1, 9, 9], "score": 0.5}\n')
    with pytest.raises(InputError, match=r"^1: nothing was found in it.*give it a box of its likeliest class"):
        there.call("ground", "dataset=context", *models["Ferret+SAM"], f"grounder.boxes={tmp_path}/boxes.jsonl")


@pytest.mark.slow
def test_a_killed_call_goes_on_in_two_processes_to_the_masks_of_one(
    tmp_path: Path, models: dict[str, tuple[str, ...]]
) -> None:
    count, there = 40, Tiny(tmp_path / "cut")
    write_toy(there.root / "data", splits={"train": 1, "validation": count}, image_size=SIDE)
    whole, folder = there.copy(tmp_path / "whole"), masks(there, "SAM3")
    command = there.command("ground", *models["SAM3"])
    process = begun(command)
    while exit_code(process) is None and len(list(folder.glob("*.png"))) < count // 4:
        time.sleep(0.001)
    process.kill()
    assert ended(process) == -signal.SIGKILL and len(list(folder.glob("*.png"))) < count
    said = finish_two(command)
    assert len(re.findall(r"(\d+) made, (\d+) were there", said)) == 2
    whole.call("ground", *models["SAM3"])
    assert contents(folder) == contents(masks(whole, "SAM3")) and len(contents(folder)) == count
    assert {path.name for path in folder.iterdir()} == {*contents(folder)}


WRONG = [
    ("prompts=tag", ("prompts", "tag", "classes, tags")),
    ("grounder=sam4", ("grounder", "sam4", "did you mean sam3?")),
    ("grounder.threshold=1.5", ("grounder.threshold", "1.5", "from 0 to 1")),
    ("grounder.segmenter.at_once=0", ("grounder.segmenter.at_once", "from 1 to 256")),
    ("grounder.saw=human", ("grounder.saw", "human", "M (masks or pixel labels of others)")),
    ("grounder._target_=os.system", ("grounder._target_", "not a part of this group")),
    ("grounder.segmenter._target_=dhr.crf.none.NoCrf", ("grounder.segmenter._target_", "dhr.grounder.sam.Sam")),
    ("grounder=ferret", ("grounder.boxes", "null", "Ferret runs elsewhere", "set grounder.boxes=<file of JSON lines>")),
    (
        "grounder=ferret grounder.boxes=none.jsonl",
        ("grounder.boxes", "none.jsonl", "no such file", "grounder.boxes=<file"),
    ),
    ("split=vaildation", ("split", "did you mean validation?")),
    ("wss=cam", ("wss", "unknown key")),
]


@pytest.mark.parametrize(("typed", "said"), WRONG)
def test_wrong_words_are_refused(capsys: pytest.CaptureFixture[str], typed: str, said: tuple[str, ...]) -> None:
    message = complaint(capsys, "ground", typed.split())
    assert [word for word in said if word not in message] == [], message


def test_letters_of_the_grounders() -> None:
    letters = {
        name: letters_of(compose("ground", [f"grounder={name}", *more]).grounder)
        for name, more in {"grounding_dino": [], "ferret": [f"grounder.boxes={__file__}"], "sam3": []}.items()
    }
    assert letters == {"grounding_dino": "ISTM", "ferret": "STM", "sam3": "TM"}
    node = compose("ground", ["grounder=grounding_dino"]).grounder
    assert "saw" in node.segmenter and "saw" not in str(without_saw(node))
    unsaid = compose("ground", ["grounder=sam3", "grounder.saw=null"]).grounder
    assert letters_of(unsaid) == "?"


def test_the_doctor_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    here = tmp_path / "models--facebook--sam-vit-huge" / "snapshots" / ("a" * 40)
    here.mkdir(parents=True)
    (here / "model.safetensors").touch()
    rows = {row.name: row for row in findings(tmp_path, tmp_path, {})}
    assert rows["facebook/sam-vit-huge (dhr.ground)"].state == "ok"
    dino, sam3 = (rows[f"{name} (dhr.ground)"] for name in ("IDEA-Research/grounding-dino-base", "facebook/sam3"))
    assert (dino.state, sam3.state) == ("optional", "optional")
    assert dino.cure == "python -m dhr.ground grounder=grounding_dino, or: grounder.weights=<folder>"
    assert "hf auth login" in sam3.cure and "grounder=sam3" in sam3.cure


def test_help_and_wrong_words_do_not_wait_for_torch() -> None:
    """--help, and a word that is refused, import neither torch nor transformers."""
    program = (
        "import sys, dhr.ground\n"
        "try:\n    dhr.ground.main()\n"
        "finally:\n    print([name for name in ('torch', 'transformers', 'numpy') if name in sys.modules])\n"
    )
    for word in ("--help", "grounder.threshold=7"):
        done = subprocess.run(
            [sys.executable, "-c", program, word], env={**environment(), "HF_HUB_OFFLINE": "1"},
            capture_output=True, text=True, check=False, cwd=os.getcwd(),
        )  # fmt: skip
        assert done.stdout.rstrip().endswith("[]"), done.stdout + done.stderr
        assert done.returncode == (0 if word == "--help" else 2)
