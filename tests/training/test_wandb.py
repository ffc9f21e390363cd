"""What a run leaves for wandb, opened as wandb's own files; and that wandb's troubles are not those of the run."""

import csv
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import wandb
from PIL import Image
from refreshing import Spy
from tiny import EPOCHS, STEPS, TRAIN, VALIDATION, Tiny
from wandb_file import Written

import dhr.training.bars
from dhr.core.labels import IGNORE
from dhr.dataset.classes import load_classes
from dhr.disk.atomic import read_json
from dhr.disk.layout import RunFolder
from dhr.evaluation.scores import as_json, joint_histogram_of, scores_of
from dhr.runtime.signals import Stopped
from dhr.training import wandb_board
from dhr.training.metrics import CLASSES, CURVES, FEATURE_PICTURES, SHOWN, STEP, TRAINING_PICTURES, VALIDATION_PICTURES
from dhr.training.stopping import StepSeeds
from dhr.training.wandb_board import Board, Drawing

KEY = "f00d" * 10
STOP = 6  # the step, of all of them, after which the run is stopped
WORDS = ("wss=cam", "dataset.rebalancing_start=0", "logger=wandb", "logger.mode=offline", "logger.tags=[mine]")


@pytest.fixture(autouse=True, scope="module")
def _at_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A home folder with no settings of wandb, a key in the environment, and no service left behind."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("WANDB_")]:
            patch.delenv(name)
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("WANDB_API_KEY", KEY)
        wandb.teardown()
        yield
        wandb.teardown()


@pytest.fixture(scope="module")
def run(tiny: Tiny, _at_home: None) -> RunFolder:
    """A run that was stopped in its second epoch, and continued."""
    begin, steps = StepSeeds.on_train_batch_start, [0]

    def begun(self: StepSeeds, *arguments: Any) -> None:
        begin(self, *arguments)
        steps[0] += 1
        if steps[0] == STOP:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StepSeeds, "on_train_batch_start", begun)
        with pytest.raises(Stopped):
            tiny.call("train", *WORDS, "name=shown")
        tiny.call("train", *WORDS, "name=shown", "resume=true")
    return tiny.run("shown")


@pytest.fixture(scope="module")
def parts(run: RunFolder) -> list[Written]:
    """What the two parts of the run wrote, in their order."""
    return sorted((Written.read(folder) for folder in folders_of(run)), key=lambda part: -part.exit_code)


def folders_of(run: RunFolder) -> list[Path]:
    return [*(run.root / "wandb").glob("offline-run-*")]


def read(part: Written, path: str) -> np.ndarray:
    """A picture that was logged."""
    with Image.open(part.folder / path) as picture:
        return np.asarray(picture)


def test_a_continued_run_is_the_same_run(run: RunFolder, parts: list[Written]) -> None:
    assert [part.exit_code for part in parts] == [1, 0]
    assert {part.run.run_id for part in parts} == {read_json(run.wandb)["id"]}
    steps = [max(part.logged(STEP)) for part in parts]
    assert steps == [STOP - 1, STEPS] and min(parts[1].logged(STEP)) >= STOP - 1


def test_a_run_is_found_by_what_it_is(parts: list[Written]) -> None:
    for part in parts:
        assert (part.run.project, part.run.display_name, part.run.job_type) == ("dhr", "shown", "train")
        assert part.run.run_group == "toy" and [*part.run.tags] == ["mine"]
        assert (part.config["tau"], part.config["seed"], part.config["wss"]["name"]) == (0.8, 1, "cam")
        assert part.config["dataset"]["max_epochs"] == EPOCHS and part.config["choices"]["rebalancing"] == "dhr"


def test_all_that_is_named_is_logged_and_nothing_else(run: RunFolder, parts: list[Written]) -> None:
    """What the layout of the panels takes its names from."""
    keys = {key for part in parts for row in part.history for key in row if not key.startswith("_")}
    assert keys - {STEP, "epoch"} == {*CURVES, *SHOWN}
    with run.metrics.open(newline="") as file:
        assert {*next(csv.reader(file))} - {"step", "epoch"} == {*CURVES}


def test_the_curves_are_those_of_the_file(run: RunFolder, parts: list[Written]) -> None:
    with run.metrics.open(newline="") as file:
        rows = [*csv.DictReader(file)]
    for key in CURVES:
        drawn = {row[STEP]: row[key] for part in parts for row in part.history if key in row}
        assert drawn == {int(row["step"]): pytest.approx(float(row[key])) for row in rows if row[key]}, key


def test_the_table_has_the_scores_of_the_pictures(parts: list[Written]) -> None:
    """All validation images are shown, as large as whole factors make them: shares of pixels are the same."""
    last, table = parts[-1], load_classes("toy")
    pairs = [
        (read(last, masks["prediction"]["path"]), read(last, masks["truth"]["path"]))
        for masks in last.logged(VALIDATION_PICTURES)[-1]["all_masks"]
    ]
    assert len(pairs) == VALIDATION
    counted, holders, _ = map(torch.from_numpy, joint_histogram_of(pairs))
    expected: Any = as_json(scores_of(counted, holders, table), table)
    shown = json.loads((last.folder / last.logged(CLASSES)[-1]["path"]).read_text())
    assert shown["columns"] == ["name", "iou", "fpr", "fnr", "truth_pixels"]
    assert [row[0] for row in shown["data"]] == [*table.names]
    for row, of_class in zip(shown["data"], expected["classes"], strict=True):
        assert row[1:4] == [pytest.approx(of_class[key]) for key in ("iou", "fpr", "fnr")]
    assert last.summary["validation/miou"] == pytest.approx(expected["miou"], rel=1e-5)


def test_pictures_are_of_the_same_images_with_named_masks(tiny: Tiny, parts: list[Written]) -> None:
    names = {str(index): name for index, name in enumerate(load_classes("toy").names)} | {str(IGNORE): "unlabelled"}
    due = {
        VALIDATION_PICTURES: (tiny.layout.ids("validation"), {"truth", "prediction"}),
        TRAINING_PICTURES: (tiny.layout.ids("train")[:8], {"truth", "prediction", "wss_mask", "seeds", "pseudo_mask"}),
    }
    for part in parts:
        labels = part.config["_wandb"]["mask/class_labels"]
        for key, (ids, kinds) in due.items():
            for shown in part.logged(key):
                assert shown["captions"] == ids
                assert [{*masks} for masks in shown["all_masks"]] == [kinds] * len(ids)
                size = read(part, shown["filenames"][0]).shape
                assert size[2] == 3 and read(part, shown["all_masks"][0]["truth"]["path"]).shape == size[:2]
            for kind in kinds:
                assert labels[f"{key}_wandb_delimeter_{kind}"]["value"] == names
        assert [len(part.logged(key)) for key in FEATURE_PICTURES] == [1, 1]
    assert [len(part.logged(TRAINING_PICTURES)) for part in parts] == [1, 1]


def test_masks_on_the_board_are_those_of_the_gallery(run: RunFolder, parts: list[Written]) -> None:
    shown = parts[-1].logged(TRAINING_PICTURES)[-1]
    for image_id, masks in zip(shown["captions"], shown["all_masks"], strict=True):
        with np.load(run.gallery / f"{image_id}.npz") as gallery:
            for kind, mask in masks.items():
                drawn = read(parts[-1], mask["path"])
                factor = len(drawn) // len(gallery[kind])
                assert (drawn[::factor, ::factor] == gallery[kind]).all()


def test_the_end_names_the_report(run: RunFolder, parts: list[Written]) -> None:
    assert parts[-1].summary["report"] == str(run.report.resolve())


def test_no_secret_is_in_the_folder(run: RunFolder) -> None:
    files = [path for path in run.root.rglob("*") if path.is_file()]
    assert len(files) > 20 and not [path for path in files if KEY.encode() in path.read_bytes()]
    assert not [path for path in files if path.name in ("output.log", "diff.patch") or "code" in path.parts]


# Troubles


@pytest.fixture
def board(tmp_path: Path) -> Callable[..., Board]:
    def made(name: str = "mine", project: str | None = "p") -> Board:
        run = RunFolder(tmp_path / name)
        return Board(run, {"tau": 0.8}, project=project, entity=None, mode="offline", group=None, tags=None)

    return made


def kill_the_service(board: Board | None = None, by: signal.Signals = signal.SIGKILL) -> None:
    """The process that this one started for wandb."""
    found = [path.read_text().replace(")", "(").split("(") for path in Path("/proc").glob("[0-9]*/stat")]
    mine = [int(pid) for pid, name, rest in found if name == "wandb-core" and rest.split()[1] == str(os.getpid())]
    for service in mine:
        os.kill(service, by)
    assert mine
    time.sleep(0.1)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.name.startswith("dhr")]


def block_the_pictures(board: Board) -> None:
    (Path(board._wandb.experiment.dir) / "media").write_text("full")


def end_it(board: Board) -> None:
    board._wandb.experiment.finish()


@pytest.mark.parametrize("trouble", [kill_the_service, block_the_pictures, end_it])
def test_a_trouble_is_said_once(
    board: Callable[..., Board], caplog: pytest.LogCaptureFixture, trouble: Callable[[Board], None]
) -> None:
    made, picture = board(), np.zeros((4, 4, 3), np.uint8)
    assert made.start()
    made.log_metrics({"train/loss": 1.0}, 1)
    assert made.is_open and not said(caplog)
    trouble(made)
    for step in range(3):
        made.log_drawings("pictures", [Drawing("a", picture)], {}, step)
        made.log_table("table", [{"a": 1}], step)
        made.log_metrics({"train/loss": 1.0}, step)
    made.finalize("success")
    (message,) = said(caplog)
    assert message.startswith("logger=wandb: gives up (") and "; the curves are in" in message
    again = board("again")
    assert again.start()  # the next run has a wandb again
    again.finalize("success")
    assert len(said(caplog)) == 1


def test_a_service_that_does_not_answer_is_not_waited_for(
    board: Callable[..., Board], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = board()
    assert made.start()
    kill_the_service(by=signal.SIGSTOP)
    monkeypatch.setattr(wandb_board, "UPLOAD_SECONDS", 0.5)
    monkeypatch.setattr(wandb_board, "ANSWER_SECONDS", 0.5)
    begun = time.monotonic()
    made.finalize("success")
    assert time.monotonic() - begun < 30
    (message,) = said(caplog)
    assert message.startswith("logger=wandb: gives up (no answer for 1 s)")
    monkeypatch.undo()
    again = board("again")
    assert again.start(), "the next run has a wandb again"
    again.finalize("success")
    assert len(said(caplog)) == 1


def test_a_run_outlives_its_service(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    spy = Spy(at=lambda epoch: kill_the_service() if epoch == 1 else None)
    monkeypatch.setattr(dhr.training.bars, "progress_bar", lambda: spy)
    tiny.call("train", *WORDS, "name=outlives")
    run = tiny.run("outlives")
    assert read_json(run.record)["status"] == "finished"
    with run.metrics.open(newline="") as file:
        steps = {int(row["step"]) for row in csv.DictReader(file) if row["train/loss"]}
    assert steps == {*range(STEPS)} and len(spy.crops) == EPOCHS * TRAIN
    assert "logger=wandb: gives up (Connection lost)" in "".join(said(caplog))


@pytest.mark.parametrize(
    ("name", "project", "same"), [("a", "p", True), ("b", "p", False), ("a", "q", False), ("a", None, True)]
)
def test_an_id_belongs_to_a_folder_and_a_project(
    board: Callable[..., Board], name: str, project: str | None, same: bool
) -> None:
    first, then = board("a"), board(name, project)
    assert first.start()
    first.finalize("success")
    if name != "a":
        then.run.root.mkdir()
        then.run.wandb.write_bytes(first.run.wandb.read_bytes())
    assert then.start() and (then.version == first.version) == same
    then.finalize("success")


def test_a_torn_id_ends_no_run(board: Callable[..., Board], caplog: pytest.LogCaptureFixture) -> None:
    torn = board("torn")
    torn.run.root.mkdir()
    torn.run.wandb.write_text("{")
    assert not torn.start()
    (message,) = said(caplog)
    assert "cannot start" in message and "torn/wandb.json: not readable as JSON" in message and "delete it" in message
