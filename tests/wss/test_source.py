"""`wss.source=<another method>`: chosen like an option, kept by runs, and refused where a method starts from none."""

import sys
from pathlib import Path

import pytest
from several import outcomes

from dhr.config.command import WRONG_CONFIG, WRONG_INPUT, exit_codes
from dhr.config.compose import compose, find_plugins, jobs
from dhr.config.overrides import loosen, tighten
from dhr.config.stored import load_run_config, refuse_other_settings, stored_text
from dhr.core.errors import InputError
from dhr.disk.layout import RunFolder

FROM_CAM = """
defaults:
  - /wss@source: cam
name: from_cam
masks: ${paths.data}/WSS/${dataset.folder}/FROM/{split}
recipe: ${cam}
saw: null
"""


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """Configuration files of a user, with a method that starts from another one."""
    (tmp_path / "conf" / "wss").mkdir(parents=True)
    (tmp_path / "conf" / "wss" / "from_cam.yaml").write_text(FROM_CAM)
    return str(tmp_path / "conf")


def said(capsys: pytest.CaptureFixture[str], words: list[str], folder: str | None = None) -> str:
    with pytest.raises(SystemExit) as stop, exit_codes(WRONG_CONFIG, debug=False):
        for job in jobs("train_wss", words):
            compose("train_wss", job, folder=folder)
    assert stop.value.code == WRONG_INPUT
    return capsys.readouterr().err


@pytest.mark.parametrize("verb", ["train", "train_wss"])
@pytest.mark.parametrize(("typed", "name"), [
    ([], "cam"), (["wss.source=truth"], "truth"), (["wss.source='simulated'"], "simulated"),
    (["wss.source=truth", "wss.source.masks=elsewhere"], "truth"), (["wss.source={saw:M}"], "cam"),
])  # fmt: skip
def test_a_source_is_chosen_like_an_option(folder: str, verb: str, typed: list[str], name: str) -> None:
    source = compose(verb, ["wss=from_cam", *typed], folder=folder).wss.source
    assert source.name == name
    assert (source.recipe is None) == (name != "cam")
    assert source.masks == ("elsewhere" if "wss.source.masks=elsewhere" in typed else source.masks)
    assert source.saw == ("M" if typed == ["wss.source={saw:M}"] else {"cam": None}.get(name, "M"))


def test_a_method_may_start_from_nothing(folder: str) -> None:
    assert compose("train_wss", ["wss=from_cam", "wss.source=null"], folder=folder).wss.source is None
    assert compose("train_wss", ["wss=cam", "wss.source=null"]).wss.source is None


WRONG: list[tuple[list[str], str]] = [
    (["wss=from_cam", "wss.source=x"], "wss.source: x: no such option; allowed: cam, dhr, from_cam, grounded, irn"),
    (["wss=from_cam", "wss.source=truht"], "did you mean truth?"),
    (["wss=from_cam", "wss.source="], "wss.source: : no such option; allowed: cam"),
    (["wss=x"], "wss: x: no such option; allowed: cam"),
    (["wss=cam", "wss.source=cam"], "wss.source: this method starts from no other; leave it out"),
    (["wss=from_cam", "wss.source=cam,null"], "wss.source: cam,null: null cannot be one of several"),
    (["wss=from_cam", "wss.source={names:x}"], "wss.source.names: x: unknown key; did you mean name?"),
]


@pytest.mark.parametrize(("words", "message"), WRONG)
def test_a_wrong_source_is_told_with_its_cure(
    folder: str, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert message in said(capsys, words, folder)


def test_several_sources_are_a_sweep(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["wss=from_cam", "wss.source=cam,simulated"]
    chosen = [compose("train_wss", job, folder=folder).wss.source.name for job in jobs("train_wss", words)]
    assert chosen == ["cam", "simulated"]
    with pytest.raises(InputError, match=r"wss.source: cam,simulated: several values; add -m"):
        compose("train_wss", words, folder=folder)


@pytest.mark.slow
@pytest.mark.parametrize("options", [["--cfg", "job"], ["-m"]])
def test_a_source_on_the_command_line(folder: str, options: list[str]) -> None:
    """Shown without being run; and in a sweep, whose jobs get what was typed: both end for want of images."""
    values = "truth" if "--cfg" in options else "truth,simulated"
    command = [sys.executable, "-m", "dhr.train_wss", *options, "--config-dir", folder]
    data = [f"paths.data={Path(folder).parent}", f"paths.outputs={Path(folder).parent}"]
    codes, told = outcomes([*command, "wss=from_cam", f"wss.source={values}", *data])
    assert "Traceback" not in told
    if "--cfg" in options:
        assert codes == [0] and "  source:\n    name: truth\n" in told
    else:
        assert codes == [WRONG_INPUT] and told.count("split=train: no folder") == 2
        assert "job 2 of 2: wss.source=simulated" in told


def test_runs_of_a_sweep_over_sources_have_names_of_their_own(folder: str) -> None:
    find_plugins()
    from hydra_plugins.dhr_launcher import sweep_name

    words = [["wss=from_cam", word] for word in map(tighten, map(loosen, ["wss.source=cam", "wss.source=truth"]))]
    names = [sweep_name(compose("train", job, folder=folder), job[1:]) for job in words]
    assert [name.rpartition("-")[2] for name in names] == ["source_cam", "source_truth"]


def test_a_run_keeps_its_source_and_goes_on_with_another(folder: str, tmp_path: Path) -> None:
    """The masks are what is learnt; where they came from is told, as is how they were made."""
    cfg = compose("train", ["wss=from_cam", "wss.source=truth", "name=one"], folder=folder)
    run = RunFolder(tmp_path / "one")
    run.root.mkdir()
    run.config.write_text(stored_text(cfg))
    assert load_run_config(run.root).wss.source.name == "truth"
    refuse_other_settings(run, compose("train", ["wss=from_cam", "wss.source=cam", "name=one"], folder=folder))
    with pytest.raises(InputError, match="has other settings: .*wss.masks"):
        refuse_other_settings(run, compose("train", ["wss=from_cam", "wss.masks=other", "name=one"], folder=folder))


@pytest.mark.parametrize(("typed", "shown"), [
    ("max_epochs=3", "3"), ("max_steps=7", "7"), ("limit_train_batches=2", "2"), ("fast_dev_run=true", "true"),
    ("max_time=00:00:01:00", "00:00:01:00"),
])  # fmt: skip
def test_a_length_of_the_trainer_is_refused(
    folder: str, capsys: pytest.CaptureFixture[str], typed: str, shown: str
) -> None:
    """A training cut short would be kept as a whole one."""
    key = typed.partition("=")[0]
    problem = f"trainer.{key}: {shown}: the method has its own length; set"
    assert f"{problem} cam.epochs" in said(capsys, ["wss=cam", f"trainer.{typed}"])
    assert f"{problem} wss.recipe.epochs" in said(capsys, ["wss=from_cam", f"trainer.{typed}"], folder)
