"""One run folder: one writer, one set of settings, curves that can be read, finished only when it is saved."""

import csv
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from tiny import STEPS, Tiny, environment

from dhr.config.compose import compose
from dhr.config.stored import refuse_other_settings, stored_text
from dhr.core.errors import InputError
from dhr.dataset.datamodule import EpochSampler, share_of_batch
from dhr.disk.atomic import read_json, update_record
from dhr.disk.lock import only_writer
from dhr.disk.weights.state import read_checkpoint
from dhr.disk.writing import part_of
from dhr.training.curves import join_metrics, rows_of

LOCKED = "from pathlib import Path; import sys, time; from dhr.disk.lock import only_writer\n"
PART = "import sys; from pathlib import Path; from dhr.disk.writing import part_of\n"
PART += "part = Path(part_of(Path(sys.argv[1]))); part.write_text('half'); print(part)"
HOLD = LOCKED + "with only_writer(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"


def holder(folder: Path) -> "subprocess.Popen[str]":
    """A process that holds the lock of a folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], env=environment(), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_dead_process_keeps_no_lock(tmp_path: Path, number: signal.Signals) -> None:
    folder = tmp_path / "runs" / "mine"
    with holder(folder) as process:
        with (
            pytest.raises(InputError, match=f"mine: another process writes into it.*{process.pid}"),
            only_writer(folder),
        ):
            pass
        process.send_signal(number)
        process.wait()
        with only_writer(folder):
            pass
    assert not list(tmp_path.rglob(".mine.lock"))


def test_a_lock_is_not_handed_down(tmp_path: Path) -> None:
    """A forked loader process that outlives its parent does not keep the folder."""
    folder, pipe = tmp_path / "mine", multiprocessing.Pipe()
    parent = os.fork()
    if parent == 0:
        with only_writer(folder):
            if os.fork() == 0:
                pipe[0].send(os.getpid())
                time.sleep(60)
            time.sleep(60)
    child = pipe[1].recv()
    try:
        os.kill(parent, signal.SIGKILL)
        os.waitpid(parent, 0)
        with only_writer(folder):
            pass
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_lock_leaves_no_folder_behind(tmp_path: Path) -> None:
    with pytest.raises(InputError), only_writer(tmp_path / "outputs" / "toy" / "runs" / "mine"):
        raise InputError("the data is not there")
    assert not list(tmp_path.iterdir())


def test_two_trainings_of_one_name(tiny: Tiny) -> None:
    with holder(tiny.run("twice").root) as process:
        with pytest.raises(InputError, match="another process writes into it"):
            tiny.call("train", "wss=cam", "rebalancing=none", "name=twice", "resume=auto")
        process.kill()
    assert not tiny.run("twice").root.exists()


SAME = (
    "dataset.workers=2", "trainer.log_every_n_steps=7", "trainer.enable_progress_bar=false", "logger=wandb",
    "crf.workers=3", "trainer.devices=2", "trainer.check_val_every_n_epoch=2", "trainer.limit_val_batches=1",
    "paths.data={root}/../data", "debug=true", "resume=auto",
)  # fmt: skip
OTHER = {
    "dataset.max_epochs=9": "dataset.max_epochs=9 (2 there)",
    "tau=0.7": "tau=0.7 (0.8 there)",
    "seed=2": "seed=2 (1 there)",
    "optimizer.head_lr=0.5": "optimizer.head_lr=0.5",
    "dataset.batch_size=8": "dataset.batch_size=8 (4 there)",
    "trainer.gradient_clip_val=1": "trainer.gradient_clip_val=1",
    "wss.masks=elsewhere": "wss.masks=elsewhere",
    "rebalancing=none": "rebalancing.rebalancer",
}


@pytest.fixture
def kept(tiny: Tiny, tmp_path: Path) -> Tiny:
    """A run that was begun, and nothing else."""
    there = Tiny(tmp_path / "there")
    cfg = compose("train", there.words("train", "wss=cam", "name=kept"))
    there.run("kept").root.mkdir(parents=True)
    there.run("kept").config.write_text(stored_text(cfg))
    return there


@pytest.mark.parametrize("word", SAME)
def test_what_does_not_change_the_result_may_differ(kept: Tiny, word: str) -> None:
    words = kept.words("train", "wss=cam", "name=kept", "resume=true", word.format(root=kept.root / "data"))
    refuse_other_settings(kept.run("kept"), compose("train", words))


def test_data_that_moved_are_the_same_data(kept: Tiny, tmp_path: Path) -> None:
    words = kept.words("train", "wss=cam", "name=kept", f"paths.data={tmp_path / 'moved'}", "paths.weights=w")
    refuse_other_settings(kept.run("kept"), compose("train", words))


@pytest.mark.parametrize("word", OTHER)
def test_what_changes_the_result_is_named(kept: Tiny, word: str) -> None:
    words = kept.words("train", "wss=cam", "name=kept", "resume=true", word)
    with pytest.raises(InputError) as error:
        refuse_other_settings(kept.run("kept"), compose("train", words))
    assert OTHER[word] in str(error.value) and "give the same" in str(error.value)


def test_other_data_are_not_continued_with(tiny: Tiny) -> None:
    words = ("wss=cam", "rebalancing=none", "name=moved-data", "dataset.max_epochs=1")
    tiny.call("train", *words)
    update_record(tiny.run("moved-data").record, {"status": "stopped", "data": "0" * 32})
    with pytest.raises(InputError, match="not the data that .*moved-data began with"):
        tiny.call("train", *words, "resume=true")


def test_nothing_to_continue_is_said(tiny: Tiny) -> None:
    with pytest.raises(InputError, match="holds no run; resume=auto begins one"):
        tiny.call("train", "wss=cam", "name=typo", "resume=true")


@pytest.mark.parametrize(
    ("words", "steps"),
    [
        (("trainer.check_val_every_n_epoch=5",), STEPS),
        (("trainer.check_val_every_n_epoch=2", "dataset.max_epochs=3"), 12),
        (("trainer.limit_val_batches=0",), STEPS),
        (("trainer.limit_train_batches=3",), 6),
        (("trainer.max_steps=5",), 5),
        (("trainer.accumulate_grad_batches=2",), STEPS // 2),
        (("trainer.val_check_interval=0.5",), STEPS),
        (("trainer.num_sanity_val_steps=1",), STEPS),
        (("trainer.enable_progress_bar=false", "trainer.detect_anomaly=true"), STEPS),
    ],
    ids=lambda value: value[0].partition(".")[2] if isinstance(value, tuple) else "",
)
def test_finished_means_saved(tiny: Tiny, words: tuple[str, ...], steps: int) -> None:
    """Whatever of Lightning's own switches is used."""
    name = words[0].replace("=", "-")
    tiny.call("train", "wss=cam", "rebalancing=none", f"name={name}", *words)
    record = read_json(tiny.run(name).record)
    assert (record["status"], record["steps"]) == ("finished", steps)
    assert read_checkpoint(tiny.run(name).last)["global_step"] == steps


@pytest.mark.parametrize(
    "word",
    ["overfit_batches=2", "use_distributed_sampler=true", "reload_dataloaders_every_n_epochs=1", "barebones=true"],
)
def test_switches_that_cannot_work_are_refused_with_a_word(tiny: Tiny, word: str) -> None:
    with pytest.raises(InputError, match="trainer"):
        tiny.call("train", "wss=cam", "rebalancing=none", "name=refused", f"trainer.{word}")
    assert not tiny.run("refused").root.exists()


def test_a_run_without_a_step_is_not_finished(tiny: Tiny) -> None:
    with pytest.raises(InputError, match="trainer: .*limit_train_batches"):
        tiny.call("train", "wss=cam", "rebalancing=none", "name=idle", "trainer.limit_train_batches=0.01")
    assert not tiny.run("idle").record.exists() or read_json(tiny.run("idle").record)["status"] == "failed"


@pytest.mark.parametrize("asked", ["true", "2"])
def test_a_quick_try_keeps_nothing(tiny: Tiny, asked: str) -> None:
    tiny.call("train", "wss=cam", "name=quick", f"trainer.fast_dev_run={asked}")
    assert not tiny.run("quick").root.exists()


TORN = {
    "half a line": "step,train/loss,validation/miou\r\n0,1.5,\r\n1,2.5,\r\n2,",
    "half a number": "step,train/loss,validation/miou\r\n0,1.5,\r\n1,2.5,\r\n2,1.25,0.",
    "zeros": "step,train/loss,validation/miou\r\n0,1.5,\r\n1,2.5,\r\n" + "\0" * 64,
    "no text": "step,train/loss,validation/miou\r\n0,1.5,\r\n1,2.5,\r\n\udcff\udcfe,,\r\n",
    "two lines in one": "step,train/loss,validation/miou\r\n0,1.5,\r\n1,2.5,\r\n2,3.2,1,4.5,\r\n",
}


@pytest.mark.parametrize("text", TORN.values(), ids=TORN)
def test_torn_curves_are_read(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "metrics.1.csv").write_bytes(text.encode(errors="surrogateescape"))
    (tmp_path / "metrics.csv").write_text("step,train/loss\n2,3.5\n")
    assert [row["step"] for row in rows_of(tmp_path / "metrics.1.csv")] == ["0", "1"]
    assert "1 torn lines" in caplog.text
    join_metrics(tmp_path / "metrics.csv")
    rows = list(csv.DictReader((tmp_path / "metrics.csv").open(newline="")))
    assert [(row["step"], row["train/loss"]) for row in rows] == [("0", "1.5"), ("1", "2.5"), ("2", "3.5")]


@pytest.mark.parametrize("text", ["", "\0\0\0", "st", "step,train/lo"])
def test_curves_without_a_line_are_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "metrics.1.csv").write_text(text)
    (tmp_path / "metrics.csv").write_text("step,train/loss\n2,3.5\n")
    join_metrics(tmp_path / "metrics.csv")
    assert [row["train/loss"] for row in rows_of(tmp_path / "metrics.csv")] == ["3.5"]


def test_curves_that_cannot_be_written_say_where(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full: here, the file of the curves is one that takes nothing."""
    run = tiny.run("full")
    run.root.mkdir(parents=True)
    run.metrics.symlink_to("/dev/full")
    monkeypatch.setattr("dhr.training.curves.set_aside", lambda metrics: None)
    with pytest.raises(InputError, match="metrics.csv: cannot be written .*No space left.*free space there"):
        tiny.call("train", "wss=cam", "rebalancing=none", "name=full")
    assert OmegaConf.load(run.config).name == "full"


@pytest.mark.parametrize(("size", "ranks", "share"), [(16, 1, 16), (16, 8, 2), (6, 3, 2), (2, 1, 2)])
def test_a_batch_is_shared_out(size: int, ranks: int, share: int) -> None:
    assert share_of_batch(size, ranks, "dataset.batch_size", least=2) == share


@pytest.mark.parametrize(("size", "ranks", "cure"), [(16, 3, 18), (4, 4, 8), (2, 3, 6), (7, 2, 8)])
def test_a_batch_that_cannot_be_shared_out_is_refused(size: int, ranks: int, cure: int) -> None:
    with pytest.raises(InputError, match=f"dataset.batch_size: {size}: .*use dataset.batch_size={cure}, or another"):
        share_of_batch(size, ranks, "dataset.batch_size", least=2)


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_a_step_sees_the_same_crops_however_many_share_it(ranks: int) -> None:
    """A run can be continued on another number of processes; `skip` leaves out what was seen in that epoch alone."""
    samplers = [EpochSampler(19, batch_size=4, seed=1, rank=rank, ranks=ranks) for rank in range(ranks)]
    alone = EpochSampler(19, batch_size=4, seed=1, rank=0, ranks=1)
    for epoch, skipped in ((3, 0), (4, 2), (5, 0)):
        for sampler in (*samplers, alone):
            sampler.skip(4, 2)
            sampler.set_epoch(epoch)
        shares, whole = [list(sampler) for sampler in samplers], list(alone)
        each = 4 // ranks
        assert len(whole) == 16 - 4 * skipped
        for step in range(4 - skipped):
            together = {key for share in shares for key in share[each * step : each * (step + 1)]}
            assert together == set(whole[4 * step : 4 * (step + 1)])


PLACES = ("outputs", "outputs/toy", "outputs/toy/runs", "outputs/toy/runs/unwritten")


@pytest.mark.parametrize("place", PLACES)
def test_a_file_where_a_folder_has_to_be_is_named(tiny: Tiny, tmp_path: Path, place: str) -> None:
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).write_text("mine")
    with pytest.raises(InputError, match=f"{place}.* cannot be written .*move away what lies there"):
        tiny.call("train", "wss=cam", "rebalancing=none", "name=unwritten", f"paths.outputs={tmp_path / 'outputs'}")
    assert (tmp_path / place).read_text() == "mine"


def test_what_a_killed_training_was_writing_is_cleared_away(tiny: Tiny) -> None:
    words = ("wss=cam", "rebalancing=none", "name=cleared", "dataset.max_epochs=1")
    run = tiny.run("cleared")
    run.checkpoints.mkdir(parents=True)
    dead = subprocess.run(
        [sys.executable, "-c", PART, str(run.last)], env=environment(), check=True, capture_output=True, text=True
    )
    living = Path(part_of(run.last))
    living.write_text("of this process")
    assert Path(dead.stdout.strip()).exists()
    tiny.call("train", *words)
    assert [path.name for path in run.checkpoints.glob(".*.part")] == [living.name]
