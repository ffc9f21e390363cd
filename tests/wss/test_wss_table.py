"""The table of WSS methods: what lies on disk is scored as by evaluate, and is said to have seen what it saw."""

import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import DATASET, ROOT, TRAIN, Tiny

from dhr.config.compose import compose
from dhr.disk.atomic import read_json
from dhr.disk.ledger import Ledger
from dhr.evaluation.gallery import SIDE
from dhr.stage.parts import open_split

SCRIPT = str(ROOT / "scripts" / "wss_table.py")


@pytest.fixture
def there(tiny: Tiny, tmp_path: Path) -> Tiny:
    """Masks of wss=cam, simulated ones, some of nobody, and a folder that lacks one."""
    copied = tiny.copy(tmp_path)
    for name in ("MINE", "Half"):
        shutil.copytree(copied.wss / "train", copied.wss.parent / name / "train")
    (copied.wss.parent / "Half" / "train" / "train_00002.png").unlink()
    return copied


def shown(there: Tiny, monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    settings = [*DATASET, *words, f"paths.data={there.root / 'data'}", f"paths.outputs={there.root / 'outputs'}"]
    monkeypatch.setattr(sys, "argv", ["wss_table.py", *settings])
    script = runpy.run_path(SCRIPT)
    return int(script["of_data_set"](script["__doc__"], script["show_methods"]))


def test_every_whole_folder_has_a_row(
    there: Tiny, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shown(there, monkeypatch, "dataset=toy") == 0
    said = capsys.readouterr()
    rows = {line.split()[0]: line.split() for line in said.out.splitlines() if line and str(TRAIN) in line.split()}
    assert {name: row[1] for name, row in rows.items()} == {"CAM": "nothing", "MINE": "?", "Simulated": "M"}
    scores = read_json(there.wss / "train.scores.json")
    assert [row[2].rstrip("*") for row in (rows["CAM"], rows["MINE"])] == [f"{scores['miou']:.1f}"] * 2
    assert [float(cell.rstrip("*")) for cell in rows["CAM"][3:5]] == [round(scores[key], 3) for key in ("mfpr", "mfnr")]
    assert float(rows["CAM"][-2]) > 0 and rows["MINE"][-2] == "-"
    assert f"{there.wss.parent / 'Half' / 'train'}: 1 of {TRAIN} masks are missing; left out" in said.err
    assert "M masks or pixel labels of others" in said.out and "definition: " in said.out
    written = there.root / "outputs" / "toy" / "wss_table.txt"
    assert written.read_text() in said.out
    assert np.asarray(Image.open(written.with_suffix(".png"))).std() > 10


def test_rows_of_the_picture_end_with_their_pictures(there: Tiny) -> None:
    split, script = open_split(compose("train_wss", there.words("dataset=toy")), "train"), runpy.run_path(SCRIPT)
    for image_id in split.all_ids():  # four times as wide as high
        for path in (split.layout.image("train", image_id), split.truths.path(image_id)):
            with Image.open(path) as square:
                wide = square.crop((0, 0, square.width, square.width // 4))
            path.unlink()  # which may be a link to that of other tests
            wide.save(path)
    shown, row = script["SHOWN"], SIDE // 4 + script["GAP"]
    assert script["picture"](split, []).shape[0] == script["HEAD"] + shown * row


def test_masks_say_themselves_what_they_saw(
    there: Tiny, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also those of no option."""
    assert read_json(there.wss / "train.saw.json") == {"saw": "nothing"}
    (there.wss / "train.saw.json").rename(there.wss.parent / "MINE" / "train.saw.json")
    (there.wss / "train.saw.json").write_text('{"saw": "I"}')
    assert shown(there, monkeypatch, "dataset=toy") == 0
    rows = {
        line.split()[0]: line.split()[1] for line in capsys.readouterr().out.splitlines() if str(TRAIN) in line.split()
    }
    assert rows == {"CAM": "I", "MINE": "nothing", "Simulated": "M"}


def test_masks_of_other_weights_are_not_said_to_have_seen_what_the_option_saw(
    there: Tiny, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = there.wss / "train.json"
    settings.write_text(settings.read_text().replace('"weights": null', '"weights": "brought.pth"'))
    (there.wss / "train.files.jsonl").unlink()
    (there.wss / "train.saw.json").unlink()
    assert shown(there, monkeypatch, "dataset=toy") == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("CAM "))
    assert row.split()[1] == "?"


@pytest.mark.parametrize(("words", "said"), [
    ([], "Usage: python scripts/wss_table.py"), (["dataset=x"], "dataset: x: no such option"),
    (["dataset=toy", "dataset.folder=Other"], "split=train: no folder"),
])  # fmt: skip
def test_there_is_nothing_to_show(
    there: Tiny, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert shown(there, monkeypatch, *words) == 2
    assert said in capsys.readouterr().err


def test_the_ledger_keeps_how_long_images_took(tiny: Tiny, tmp_path: Path) -> None:
    """Of all calls of one making together, of no earlier making, and not among what decides what is made."""
    there = tiny.copy(tmp_path)
    ledger = Ledger(there.wss / "train")

    def took() -> tuple[int, float]:
        known = ledger.read()
        assert known is not None
        return known.took

    first = took()
    assert first[0] == TRAIN and first[1] > 0
    for name in ("train_00001.png", "train_00005.png"):
        (there.wss / "train" / name).unlink()
    there.call("train_wss")
    second = took()
    assert second[0] == TRAIN + 2 and second[1] > first[1]
    there.call("train_wss")
    assert took() == second
    there.call("train_wss", "overwrite=true")
    assert took()[0] in (TRAIN, TRAIN - 1)  # the first one was tried before the old ones were given up
