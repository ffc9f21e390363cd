"""Settings beside the data: every command finds <data>/configs, and nothing in it can do more than set keys."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from complaints import complaint
from several import outcomes
from tiny import environment

from dhr.config.compose import compose
from dhr.config.own import cam_epochs, own_options, own_settings, with_own
from dhr.core.errors import InputError

VERBS = ("prepare", "audit", "train_wss", "train_uss", "extract_uss", "train", "predict", "labels", "evaluate")
MINE = own_settings("mine", "folder", images=40, epochs=8, start=2)


def put(data: Path, text: str = MINE, *, group: str = "dataset", name: str = "mine") -> Path:
    path = data / "configs" / group / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("verb", VERBS)
def test_every_command_knows_the_data_set(tmp_path: Path, verb: str) -> None:
    put(tmp_path)
    given = {
        "predict": [f"weights={put(tmp_path, name='w')}"],
        "labels": [f"weights={put(tmp_path, name='w')}"],
        "evaluate": [f"masks={tmp_path}"],
        "train_uss": ["uss=cause"],
    }
    cfg = compose(verb, [f"paths.data={tmp_path}", "dataset=mine", *given.get(verb, [])])
    assert (cfg.dataset.name, cfg.dataset.folder, cfg.dataset.batch_size, cfg.choices.dataset) == ("mine",) * 2 + (
        8,
        "mine",
    )


@pytest.mark.parametrize("folder", ["data", "with blank, comma's and [brackets] = ü"])
@pytest.mark.parametrize("way", ["typed", "variable", "usual"])
def test_the_folder_of_the_data_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, way: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DHR_DATA", raising=False)
    put(tmp_path / ("data" if way == "usual" else folder))
    if way == "variable":
        monkeypatch.setenv("DHR_DATA", folder)
    words = [f"paths.data={folder}"] if way == "typed" else []
    assert compose("train", [*words, "dataset=mine"]).dataset.name == "mine"


def test_what_is_typed_and_a_folder_of_settings_come_first(tmp_path: Path) -> None:
    put(tmp_path / "data")
    put(tmp_path / "data", "defaults: [none]\nrebalancer: null\n", group="rebalancing", name="other")
    for name in ("a", "b"):
        (tmp_path / name / "experiment").mkdir(parents=True)
        (tmp_path / name / "experiment" / f"{name}.yaml").write_text("# @package _global_\ntau: 0.7\n")
    words = [f"paths.data={tmp_path / 'data'}", "dataset=mine", f"hydra.searchpath=[{tmp_path / 'a'}]", "tau=0.6"]
    assert compose("train", [*words, "experiment=a"]).tau == 0.6
    assert compose("train", [*words[:3], "experiment=b"], folder=str(tmp_path / "b")).tau == 0.7
    assert with_own(words)[-1].startswith("hydra.searchpath=['") and len(with_own(words)) == len(words)
    assert with_own(["tau=0.6"]) == ["tau=0.6"]


@pytest.mark.parametrize(
    ("group", "word"),
    [
        ("wss", "wss=mine"),
        ("wss", "wss.source=mine"),
        ("experiment", "experiment=[mine]"),
        ("uss/tokens", "uss/tokens=mine"),
    ],
)
def test_a_file_of_any_group_is_looked_at(tmp_path: Path, group: str, word: str) -> None:
    put(tmp_path, "name: ${oc.env:HOME}\n", group=group)
    with pytest.raises(InputError, match=r"mine\.yaml: not plain keys and values"):
        compose("train" if "exp" in word else "train_wss", [f"paths.data={tmp_path}", word])


def test_ours_cannot_be_replaced(tmp_path: Path) -> None:
    put(tmp_path, "name: mine\n", name="voc")
    assert compose("train", [f"paths.data={tmp_path}", "dataset=voc"]).dataset.name == "voc"
    put(tmp_path)
    assert own_options(tmp_path, "dataset") == ["mine"]


HOSTILE = {
    "a target": ("download: {_target_: os.system}\n", "dataset.download._target_: os.system: not a part of this group"),
    "a target of another group": (
        "download: {_target_: dhr.crf.none.NoCrf}\n", "dataset.download._target_: .*not a part of this group",
    ),
    "a target that lies beside it": (
        "download: {_target_: dhr.dataset.original.evil.Evil}\n", "dataset.download._target_: .*not a part",
    ),
    "an unknown key": ("batchsize: 3\n", r"mine\.yaml: batchsize: 3: unknown key; did you mean batch_size\?"),
    "Hydra's keys": ("hydra: {callbacks: {x: {_target_: os.system}}}\n", r"mine\.yaml: hydra: .*unknown key"),
    "another place": ("# @package _global_\npaths: {outputs: /}\n", r"mine\.yaml: not plain keys and values; leave"),
    "a variable": ("name: ${oc.env:HOME}\n", r"mine\.yaml: not plain keys and values"),
    "anchors": ("a: &a [1]\nb: *a\n", r"mine\.yaml: not plain keys and values"),
    "deep": ("a: " + "[" * 40 + "]" * 40, r"mine\.yaml: not plain keys and values"),
    "Python": ("name: !!python/object/apply:os.system [ls]\n", r"mine\.yaml: not readable as YAML .Constr"),
    "no YAML": ("a: [\n", r"mine\.yaml: not readable as YAML"),
    "a list": ("- a\n", r"mine\.yaml: not plain keys and values"),
    "empty": ("", r"mine\.yaml: not plain keys and values"),
    "long": ("# " + "x" * 100_000, r"mine\.yaml: \d+ bytes: too long for settings"),
    "another group": ("defaults: [{/backbone: resnet18}]\n", r"mine\.yaml: defaults: .*not one of ours; allowed are _"),
    "a file of theirs": ("defaults: [theirs]\n", r"mine\.yaml: defaults: theirs: not one of ours"),
    "no list": ("defaults: 5\n", r"mine\.yaml: defaults: 5: not one of ours"),
    "a path": ("defaults: [../../../etc/passwd]\n", r"mine\.yaml: defaults: .*not one of ours"),
    "a wrong value": ("defaults: [folder, _self_]\nbatch_size: many\n", "dataset.batch_size: many: does not fit here"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_a_file_beside_the_data_cannot_do_more_than_set_keys(tmp_path: Path, case: str) -> None:
    text, message = HOSTILE[case]
    put(tmp_path, "defaults: [folder, _self_]\n" + text if case.startswith("a target") else text)
    put(tmp_path, "name: theirs\n", name="theirs")
    with pytest.raises(InputError, match=message):
        compose("train", [f"paths.data={tmp_path}", "dataset=mine"])


def test_a_preset_of_ours_can_be_named(tmp_path: Path) -> None:
    base = compose("train", ["dataset=voc"]).dataset
    keys = {key: value for key, value in base.items() if key not in ("name", "download")}
    text = "\n".join(f"{key}: {'null' if value is None else value}" for key, value in keys.items())
    put(tmp_path, f"defaults: [{{/preset@_global_: photos}}, _self_]\nname: mine\n{text}\n")
    cfg = compose("train", [f"paths.data={tmp_path}", "dataset=mine"])
    assert (cfg.choices.backbone, cfg.dataset.classes, cfg.dataset.crop_size) == ("efficientnet_lite0", "voc", 512)


@pytest.mark.parametrize(
    ("verb", "words"), [("train", ["dataset=mien"]), ("evaluate", ["masks=."])], ids=["misspelt", "not said"]
)
def test_messages_know_the_data_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str, words: list[str]
) -> None:
    put(tmp_path)
    said = complaint(capsys, verb, [f"paths.data={tmp_path}", *words])
    assert ("dataset=folder name=<yours>" in said) == (verb == "train")
    assert "mine" in said and "voc_photos" in said and ("did you mean mine?" in said) == (verb == "train")


@pytest.mark.parametrize(("images", "batch"), [(8, 2), (16, 4), (40, 8), (64, None), (10_000, None)])
def test_small_sets_are_learnt_in_small_batches(images: int, batch: int | None) -> None:
    text = own_settings("mine", "folder_paper", images, epochs=200, start=1)
    assert "\n  - folder_paper\n" in text and (
        f"batch_size: {batch} " in text or (batch is None and "batch" not in text)
    )


@pytest.mark.parametrize(
    ("images", "epochs", "length"),
    [(19, 8, {"max_epochs": 40, "rebalancing_start": 10}), (64, 8, {"max_epochs": 40, "rebalancing_start": 10}),
     (1, 8, {"max_epochs": 160, "rebalancing_start": 40}), (320, 8, {}), (10_000, 8, {}), (19, 100, {})],
)  # fmt: skip
def test_small_sets_are_learnt_for_more_epochs(images: int, epochs: int, length: dict[str, int]) -> None:
    values = yaml.safe_load(own_settings("mine", "folder", images, epochs=epochs, start=2))
    assert {key: value for key, value in values.items() if key in ("max_epochs", "rebalancing_start")} == length


@pytest.mark.parametrize(("images", "epochs"), [(1, 80), (19, 20), (40, 16), (63, 12), (64, None)])
def test_the_classifier_of_tags_learns_from_few_images_for_longer(images: int, epochs: int | None) -> None:
    assert cam_epochs(images) == epochs


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"dhr.{words[0]}", *words[1:]]
    return subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_command_line_knows_the_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "my data")
    where = "paths.data=my data"
    assert "dataset:\n  name: mine\n" in run(tmp_path, "train", "--cfg", "job", where, "dataset=mine").stdout
    assert "folder: mine\n" in run(tmp_path, "train", "--help", where, "dataset=mine").stdout
    swept = run(tmp_path, "prepare", "-m", "dataset=mine,voc", where)
    assert (swept.returncode, swept.stderr.count("source: null")) == (2, 2)
    put(tmp_path / "my data", "name: ${oc.env:HOME}\n")
    refused = run(tmp_path, "train", "--cfg", "job", where, "dataset=mine")
    assert (
        refused.returncode == 2
        and "not plain keys and values" in refused.stderr
        and os.environ["HOME"] not in refused.stdout
    )
    put(tmp_path / "my data", "batch: 3\n")
    monkeypatch.chdir(tmp_path)
    codes, told = outcomes([sys.executable, "-m", "dhr.doctor", where])
    assert codes == [0] and "batch" in told and "Traceback" not in told
