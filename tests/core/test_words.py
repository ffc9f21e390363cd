"""Names and paths mean what was typed, and what a message says to type can be typed."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from complaints import complaint
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from dhr.config.compose import compose, jobs
from dhr.config.kinds import alternatives
from dhr.config.overrides import parse, value_of
from dhr.config.schema import SCHEMAS
from dhr.config.stored import load_run_config, stored_text
from dhr.config.texts import as_typed, kinds_of
from dhr.config.tree import config_folder
from dhr.core.errors import InputError
from dhr.core.words import open_home, quoted, word
from dhr.disk.weights.pixel_labels import parse_start, refuse_pixel_labels
from dhr.stage.parts import feature_store, wss_masks
from dhr.stage.report import given_scores

NAMES = ["20241122", "2024_11_22", "2024-11-22", "1e5", "7", "007", "1.0", "0x1f", "true", "off", "nan", "None", "a.b"]
PLACES = [  # folders as they are called somewhere
    "VOC (1)",
    "lr=1",
    "a,b",
    "[x]",
    "{45c63495}",
    "it's",
    'say "x"',
    "데이터",
    "Bücher",
    "a b\\",
    "a\\'b",
    "#1",
    "a;b&c|d",
    "$HOME",
    "100%",
    "'quoted'",
    "a: b",
    "!",
    "*",
    "null",
    "20241122",
]
BESIDE = {"train_wss": ["wss=cam"], "train_uss": ["uss=stego", "uss/tokens=dino_vits8"]}
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1).filter(
    lambda text: "${" not in text
)


def leaves(value: object, place: str) -> Iterator[tuple[str, object]]:
    """Keys with dots, and what stands there; lists count as one value."""
    if not isinstance(value, dict):
        yield place, value
        return
    for key, each in value.items():
        yield from leaves(each, f"{place}.{key}" if place else key)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_what_was_typed(tmp_path: Path, name: str) -> None:
    cfg = compose("train", [f"name={name}"])
    assert cfg.name == name
    (tmp_path / "config.yaml").write_text(stored_text(cfg))
    assert load_run_config(tmp_path).name == name
    assert compose("predict", [f"run={tmp_path}"]).name == name


def test_null_is_nothing_and_quoted_it_is_a_name() -> None:
    assert compose("train", ["name=null"]).name == compose("train").name
    assert compose("train", ["name='null'"]).name == "null"


@pytest.mark.parametrize(
    "key", ["dataset.folder", "dataset.splits.train", "logger.project", "logger.entity", "uss.name"]
)
def test_every_text_is_what_was_typed(key: str) -> None:
    assert OmegaConf.select(compose("train", [f"{key}=1e5"]), key) == "1e5"


@pytest.mark.parametrize("verb", sorted({*SCHEMAS} - {"predict", "labels", "report", "evaluate", "submit", "export"}))
def test_the_grammar_reads_no_text(verb: str) -> None:
    """Where a key that holds text is left to Hydra, it allows some words only, none of which looks like a number."""
    for key, value in leaves(OmegaConf.to_container(compose(verb, [*BESIDE.get(verb, [])])), ""):
        left = as_typed(verb, f"{key}=1e5") == f"{key}=1e5"
        if isinstance(value, str) and left and not key.endswith("_target_") and not key.startswith("choices."):
            assert not any(str in alternatives(kind) for kind in kinds_of(verb, key)), key


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("key", "verb"), [("paths.data", "train"), ("backbone.weights", "train"), ("source", "prepare")]
)
def test_a_path_needs_quotes_for_the_shell_alone(key: str, verb: str, place: str) -> None:
    (typed,) = shlex.split(f"{key}={shlex.quote(f'/x/{place}')}")
    assert OmegaConf.select(compose(verb, [typed]), key) == f"/x/{place}"


@settings(max_examples=40)
@given(TEXTS)
def test_what_a_message_says_can_be_typed(text: str) -> None:
    (typed,) = shlex.split(word("paths.data", text))
    for sweep in (False, True):
        (override,) = parse([as_typed("train", typed, sweep=sweep)])
        assert (value_of(override), override.value()) == (text, text)


@settings(max_examples=40)
@given(TEXTS)
def test_quotes_are_read_back(text: str) -> None:
    assert parse([f"key={quoted(text)}"])[0].value() == text


def test_lists_of_paths_are_what_was_typed() -> None:
    (override,) = parse([as_typed("report", "compare=[20241122,/a b/(1), 'it,s']")])
    assert override.value() == ["20241122", "/a b/(1)", "it,s"]


@pytest.mark.parametrize(("word", "names"), [
    ("name=20241122,1e5", ["20241122", "1e5"]),
    ("paths.data=/a (1),'/b,c',/d=e", ["/a (1)", "/b,c", "/d=e"]),
    ("name=choice(7,8)", ["7", "8"]),
    ("name=7", ["7"]),
])  # fmt: skip
def test_jobs_of_a_sweep_have_the_names_that_were_typed(word: str, names: list[str]) -> None:
    made = [compose("train", job) for job in jobs("train", [word])]
    assert [OmegaConf.select(cfg, word.partition("=")[0]) for cfg in made] == names


def test_a_forgotten_m_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert "add -m" in complaint(capsys, "train", ["name=a,b"])


# Home


@pytest.mark.parametrize(
    "word", ["paths.data=~/x", "paths.outputs='~/x'", "backbone.weights=~/x", "wss.masks=~/x/{split}"]
)
def test_a_home_is_opened(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    key, _, value = word.partition("=")
    assert OmegaConf.select(compose("train", [word]), key) == value.strip("'").replace("~", "/home/me")


def test_a_home_is_opened_where_no_shell_does_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("DHR_DATA", "~/sets")
    assert compose("train").uss.store == "/home/me/sets/Toy/{split}/colour"
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\npaths: {outputs: ~/out}\n")
    assert compose("train", ["experiment=mine"], folder=str(tmp_path)).paths.outputs == "/home/me/out"
    base: Any = OmegaConf.to_container(OmegaConf.load(config_folder() / "base.yaml"))
    sweep = base["hydra"]["sweep"]["dir"].partition("/")[0]
    assert OmegaConf.create({"paths": {"outputs": "~/out"}, "sweep": sweep}).sweep == "/home/me/out"


@pytest.mark.parametrize("text", ["a~", "./~", "", "x/~/y"])
def test_only_a_leading_home_is_one(text: str) -> None:
    assert open_home(text) == text


def test_the_home_of_nobody_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    said = complaint(capsys, "train", ["paths.data=~nobody.knows/x"])
    assert "paths.data: ~nobody.knows/x: no such home folder" in said
    with pytest.raises(InputError, match="no such home"):
        open_home("~nobody.knows")


@pytest.mark.parametrize(
    "word", ["paths.data=", "source=", "wss.masks=a\nb", "paths.data=\udcff", "uss.weights=\x1b[31m"]
)
def test_what_no_file_can_keep_is_no_path(capsys: pytest.CaptureFixture[str], word: str) -> None:
    verb = "prepare" if word.startswith("source") else "train"
    assert word.partition("=")[0] in complaint(capsys, verb, [word])


# Braces


BRACES = ["{45c63495}", "{", "}{", "{0}", "{split:>3e9}", "{x}", "%s", "%(split)s", "$split", "{{x}}"]


@pytest.mark.parametrize("folder", BRACES)
def test_only_the_word_split_is_replaced_in_a_folder(folder: str) -> None:
    cfg = compose("train", [f"paths.data=/x/{folder}"])
    assert wss_masks(cfg, "val").folder == Path(f"/x/{folder}/WSS/Toy/Simulated/val")
    assert feature_store(cfg, "val").folder == Path(f"/x/{folder}/Toy/val/colour")


@pytest.mark.parametrize("folder", BRACES)
def test_a_report_finds_scores_whatever_the_folder_is_called(tmp_path: Path, folder: str) -> None:
    (tmp_path / "config.yaml").write_text(stored_text(compose("train", [f"wss.masks={tmp_path}/{folder}/{{split}}"])))
    scores = tmp_path / folder / "train.scores.json"
    scores.parent.mkdir()
    scores.write_text("{}")
    assert given_scores(tmp_path) == scores


@pytest.mark.parametrize("place", PLACES[::3])
def test_the_runs_beside_a_folder_are_named_as_they_are_typed(tmp_path: Path, place: str) -> None:
    (tmp_path / place / "mine").mkdir(parents=True)
    (tmp_path / place / "mine" / "config.yaml").write_text(stored_text(compose("train", ["seed=5"])))
    with pytest.raises(InputError, match="runs beside it: ") as caught:
        compose("evaluate", [f"run={tmp_path}/{place}/other"])
    (typed,) = shlex.split(str(caught.value).partition("runs beside it: ")[2])
    assert compose("predict", [typed]).seed == 5


def test_weights_that_saw_pixel_labels_are_admitted_as_is_said(tmp_path: Path) -> None:
    path = tmp_path / "VOC (1), it's" / "mask2former.pth"
    with pytest.raises(InputError, match="or admit it with ") as caught:
        refuse_pixel_labels(path, ["encoder.weight"])
    (typed,) = shlex.split(str(caught.value).partition("or admit it with ")[2])
    assert parse_start(compose("train", [typed]).backbone.weights) == (path, True)
