"""The table of rivals: masks, runs and published numbers of one data set, each with what it saw and who measured it."""

import json
import runpy
import shutil
import statistics
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny import DATASET, ROOT, Tiny

from dhr.disk.atomic import read_json, write_json

SCRIPTS = ROOT / "scripts"
PUBLISHED = json.loads((SCRIPTS / "published.json").read_text())
DATA_SETS = {"VOC 2012": "voc", "COCO 2014": "coco", "Pascal Context": "context", "ADE": "ade", "COCO-Stuff": "stuff"}
RECORD = {"wss": "cam", "rebalancing": "none", "backbone": "resnet18", "decoder": "deeplabv3plus", "max_epochs": 8}
LETTERS = {"backbone": "I", "wss": "I"}


@pytest.fixture
def there(tiny: Tiny, tmp_path: Path) -> Tiny:
    return tiny.copy(tmp_path)


def scored_run(there: Tiny, name: str, miou: float, *, saw: dict[str, str] = LETTERS, **facts: object) -> None:
    """The files of a run that the table reads."""
    folder = there.run(name).root
    (folder / "scores").mkdir(parents=True)
    write_json(folder / "run.json", {**RECORD, "saw": saw, **facts})
    write_json(folder / "scores" / "validation.json", {"miou": miou, "mfpr": 0.25, "mfnr": 0.125, "small_mfnr": None})


def script(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return runpy.run_path(str(SCRIPTS / "rivals_table.py"))


def rows_of(text: str) -> list[list[str]]:
    """The cells of every row of a table in Markdown but its head."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def shown(tiny: Tiny, monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    settings = [*words, f"paths.data={tiny.root / 'data'}", f"paths.outputs={tiny.root / 'outputs'}"]
    monkeypatch.setattr(sys, "argv", ["rivals_table.py", *settings])
    there = script(monkeypatch)
    return int(there["of_data_set"](there["__doc__"], there["show_rivals"]))


def test_masks_networks_second_stages_open_vocabulary_and_truth_are_in_one_table(
    there: Tiny, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed, miou in enumerate((60.0, 62.0, 67.0)):
        scored_run(there, f"mine-dhr-seed{seed}", miou, rebalancing="dhr")
    scored_run(there, "mine-none-seed1", 50.0)
    scored_run(there, "mine-truth-seed1", 80.0, wss="truth", saw={"backbone": "I", "wss": "M"})
    scored_run(there, "queries", 70.0, wss="dhr", decoder="mask2former_small")
    truths = there.layout.split("validation")
    shutil.copytree(truths / "mask", there.root / "data" / "OVSeg" / "Toy" / "SAM3" / "validation")
    write_json(there.root / "data" / "OVSeg" / "Toy" / "SAM3" / "validation.json", {"saw": "TMK"})
    shutil.copytree(truths / "mask", there.root / "data" / "OVSeg" / "Toy" / "Brought")
    assert shown(there, monkeypatch, "dataset=toy", *DATASET) == 0
    said = capsys.readouterr().out
    rows = {row[1].split(" (")[0]: row for row in rows_of(said)}
    masks = read_json(there.wss / "train.scores.json")
    assert rows["CAM"][:5] == ["masks", "CAM", "nothing", "train", f"{masks['miou']:.1f}"]
    spread = statistics.stdev((60.0, 62.0, 67.0))
    expected = ["network", "I", "validation", f"63.0 +- {spread:.1f}", "0.250 +- 0.000", "0.125 +- 0.000", "-", "3"]
    assert [rows["mine-dhr"][0], *rows["mine-dhr"][2:9]] == expected
    assert rows["mine-none"][4] == "50.0" and rows["mine-none"][8] == "1"
    assert rows["queries"][0] == "second stage" and rows["SAM3"][0] == "open vocabulary" and rows["SAM3"][2] == "TMK"
    assert (
        rows["Brought"][2] == "?"
        and rows["SAM3"][4] == "100.0"
        and rows["mine-truth"][0] == "truth"
        and rows["mine-truth"][2] == "IM"
    )
    assert "rebalancing=dhr" in rows["mine-dhr"][1] and "backbone=" not in rows["mine-dhr"][1]
    assert {row[9] for row in rows.values()} == {"measured here"}
    kinds = [row[0] for row in rows_of(said)]
    order = ["masks", "open vocabulary", "network", "second stage", "truth"]
    assert list(dict.fromkeys(kinds)) == order
    assert (there.root / "outputs" / "toy" / "rivals.md").read_text() in said


def test_runs_of_other_settings_are_never_one_row(
    there: Tiny, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scored_run(there, "same-seed1", 60.0, max_epochs=4)
    scored_run(there, "same-seed2", 70.0, max_epochs=8)
    assert shown(there, monkeypatch, "dataset=toy", *DATASET) == 0
    found = {row[1]: row[4] for row in rows_of(capsys.readouterr().out)}
    assert {"same (max_epochs=4)": "60.0", "same (max_epochs=8)": "70.0"}.items() <= found.items()


def test_published_numbers_say_so_and_stand_behind_measured_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    there = script(monkeypatch)
    measured = there["Row"]("network", "mine", "I", "validation", [{"miou": 10.0}])
    rows = rows_of(there["table"]("voc", [*there["published"]("voc"), measured]))
    networks = [row for row in rows if row[0] == "network"]
    assert networks[0][1] == "mine" and len(rows) == 1 + sum(entry["dataset"] == "voc" for entry in PUBLISHED)
    assert all(row[9].startswith("published: ") for row in networks[1:])
    best = {row[3]: (row[1], row[4], row[2]) for row in reversed(networks[1:])}
    assert best["test"] == ("WeCLIP+", "83.9", "ST") and best["validation"] == ("DHR", "79.8", "IS")


def test_results_name_the_published_numbers_of_the_table() -> None:
    section = (ROOT / "docs" / "results.md").read_text().partition("## Published")[2].partition("\n## ")[0]
    found = [
        {
            "dataset": DATA_SETS[dataset], "split": split, "name": name, "saw": saw, "miou": float(miou),
            **{key: float(value) for key, value in (("mfpr", mfpr), ("mfnr", mfnr)) if value}, "source": source,
        }
        for dataset, split, name, saw, miou, mfpr, mfnr, source in rows_of(section)
    ]  # fmt: skip
    assert found == [{key: value for key, value in entry.items() if key != "kind"} for entry in PUBLISHED]


@pytest.mark.parametrize(
    ("words", "said"), [((), "Usage"), (("dataset=tou",), "toy"), (("dataset=toy", "seeed=1"), "seed")]
)
def test_wrong_words_are_named(
    tiny: Tiny, words: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shown(tiny, monkeypatch, *words) == 2
    assert said in capsys.readouterr().err


def test_nothing_on_disk_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shown(Tiny(tmp_path), monkeypatch, "dataset=toy") == 2
    assert str(tmp_path) in capsys.readouterr().err
