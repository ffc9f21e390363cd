"""Signals to commands of several processes: whoever gets it first, all end after the same step, and nobody with 0."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from several import TWO, finish_here, finish_two
from tiny import Tiny, environment

from dhr.disk.atomic import read_json
from dhr.disk.layout import RunFolder
from dhr.disk.weights.state import read_checkpoint

LONG = "dataset.max_epochs=4"
HELPED, ALONE = (tuple(f"{part}.workers={number}" for part in ("crf", "dataset")) for number in (1, 0))


def stopped(command: list[str], ready: Callable[[], bool], send: Callable[[int], None]) -> tuple[int, str]:
    """Exit code and output of a command to which a signal is sent when it is ready for it."""
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, env=environment(), start_new_session=True, **output) as process:
        deadline = time.monotonic() + 120
        while not ready() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        assert process.poll() is None, "it was done before a signal could be sent"
        send(process.pid)
        try:
            said, _ = process.communicate(timeout=100)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return process.returncode, said


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def end_state(run: RunFolder) -> tuple[str, int]:
    return read_json(run.record)["status"], read_checkpoint(run.last)["global_step"]


def swept(tiny: Tiny, *words: str) -> list[str]:
    """A sweep of two trainings, whose crops need the CRF from the first step on."""
    labels = ("rebalancing=dhr", "dataset.rebalancing_start=0")
    command = tiny.command("train", "wss=cam", LONG, *labels, *words, "name=swept", "seed=1,2")
    return [*command[:3], "-m", *command[3:]]


@pytest.mark.slow
def test_all_processes_of_a_sweep_get_the_signal(tiny: Tiny) -> None:
    """As schedulers send it: to the sweep, its job, the processes of the CRF and those of the loader."""
    command = swept(tiny, *HELPED)
    first, second = tiny.run("swept-seed1"), tiny.run("swept-seed2")
    code, said = stopped(command, first.last.exists, lambda pid: os.killpg(pid, signal.SIGTERM))
    assert code == 143, said
    assert "Traceback" not in said and not list(first.root.glob("failed-*")), said
    status, step = end_state(first)
    assert status == "stopped" and 0 < step < 16 and not second.root.exists()
    finish_here(swept(tiny, *ALONE))  # with the same result, and without the seconds that helpers need to start
    assert end_state(first) == end_state(second) == ("finished", 16)


@pytest.mark.slow
def test_one_of_two_processes_gets_the_signal(tiny: Tiny) -> None:
    command = tiny.command("train", "wss=cam", LONG, "name=pair", "rebalancing=none", "resume=auto", *TWO)
    run = tiny.run("pair")
    code, said = stopped(command, run.last.exists, lambda pid: os.kill(children(pid)[0], signal.SIGUSR1))
    assert code == 128 + signal.SIGUSR1, said
    status, step = end_state(run)
    assert status == "stopped" and 0 < step < 16
    finish_two(command)
    assert end_state(run) == ("finished", 16)
