"""Commands in one process and in two; and in copies of this one, which has imported everything already."""

import importlib
import io
import logging
import multiprocessing
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from tiny import environment

TWO = ("trainer=ddp", "trainer.devices=2")
LAUNCHER = ("-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone")
SECONDS = 600


def finish(command: list[str]) -> str:
    """Runs a command to its good end; processes that wait for each other forever are stopped together."""
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, env=environment(), start_new_session=True, **output) as process:
        try:
            said, _ = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    assert process.returncode == 0, said
    return str(said)


def finish_both(command: list[str], data: Path) -> str:
    """Runs a command in two copies of this process as srun starts them at once, to their good end.

    `data` is a folder of this test.
    """
    job = str(sum(map(ord, str(data))))  # Lightning makes the port of it
    shared = {"SLURM_JOB_ID": job, "SLURM_JOB_NAME": "test", "SLURM_NODELIST": "127.0.0.1", "MASTER_ADDR": "127.0.0.1"}
    shared |= {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "1", "SLURM_NODEID": "0"}
    each = tuple(shared | dict.fromkeys(("SLURM_PROCID", "SLURM_LOCALID"), str(rank)) for rank in (0, 1))
    codes, said = outcomes(command, each)
    assert codes == [0, 0], said
    return said


def with_two(command: list[str]) -> list[str]:
    """python -m dhr.<verb> ... -> the same under torchrun."""
    return [sys.executable, *LAUNCHER, *command[1:]]


def begun(
    command: list[str], output: Path | None = None, **variables: str
) -> "multiprocessing.context.ForkProcess | subprocess.Popen[bytes]":
    """A command in a process that can be watched and killed: a copy of this one, or, beside a GPU, which no copy may
    use, a new one. What it says goes into the file `output`.
    """
    target = Path(os.devnull) if output is None else output
    given = {**environment(), **variables}
    if torch.cuda.is_available():
        with target.open("ab") as file:
            return subprocess.Popen(command, env=given, stdout=file, stderr=subprocess.STDOUT)
    process = multiprocessing.get_context("fork").Process(target=_become, args=(command, target, given))
    process.start()
    return process


def exit_code(process: "multiprocessing.context.ForkProcess | subprocess.Popen[bytes]") -> int | None:
    """Of a process that was begun; None while it runs."""
    return process.poll() if isinstance(process, subprocess.Popen) else process.exitcode


def ended(process: "multiprocessing.context.ForkProcess | subprocess.Popen[bytes]") -> int | None:
    """Waits for its end."""
    if isinstance(process, subprocess.Popen):
        return process.wait(SECONDS)
    process.join(SECONDS)
    return process.exitcode


def finish_here(command: list[str]) -> str:
    """As `finish`, in a copy of this process."""
    codes, said = outcomes(command)
    assert codes == [0], said
    return said


def outcomes(command: list[str], variables: tuple[Mapping[str, str], ...] = ({},)) -> tuple[list[int | None], str]:
    """Exit codes and output of copies of this process, one for each entry of `variables`, its further environment."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "output"
        output.touch()
        processes = [begun(command, output, **each) for each in variables]
        try:
            codes = _codes(processes)
        finally:
            for process in processes:
                process.kill()
                ended(process)
        return codes, output.read_text("utf-8", "replace")


def _codes(processes: list["multiprocessing.context.ForkProcess | subprocess.Popen[bytes]"]) -> list[int | None]:
    """Exit codes, once all have ended or one with an error, for which the others would wait."""
    deadline = time.monotonic() + SECONDS
    while True:
        codes = [exit_code(process) for process in processes]
        if None not in codes or any(codes) or time.monotonic() > deadline:
            return codes
        time.sleep(0.01)


def finish_two(command: list[str]) -> str:
    """Two copies of this process with the variables that torchrun sets for its two."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    both = {
        **{f"{kind}WORLD_SIZE": "2" for kind in ("", "LOCAL_", "ROLE_")},
        **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "GROUP_RANK": "0", "GROUP_WORLD_SIZE": "1"},
        **{"TORCHELASTIC_RUN_ID": "twins", "TORCHELASTIC_RESTART_COUNT": "0", "TORCHELASTIC_MAX_RESTARTS": "0"},
    }
    each = tuple(both | dict.fromkeys(("RANK", "LOCAL_RANK", "ROLE_RANK"), str(rank)) for rank in range(2))
    codes, said = outcomes(command, each)
    assert codes == [0, 0], said
    return said


def _become(command: list[str], output: Path, variables: Mapping[str, str]) -> None:
    """Runs a command line, python -m <module> ... or python <script> ..., as if this process had begun with it."""
    with output.open("ab") as file:
        for number, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(file.fileno(), number)
            stream = io.FileIO(number, "w", closefd=False)
            setattr(sys, name, io.TextIOWrapper(io.BufferedWriter(stream), "utf-8", line_buffering=True))
    # A fork leaves torch's pool of threads broken until someone asks for it. Two threads that ask at the same time can
    # get none ("Invalid thread pool!"), so this thread asks while it is alone.
    torch.set_num_threads(torch.get_num_threads())
    os.environ.clear()
    os.environ.update(variables)
    logging.root.handlers.clear()  # pytest's
    # Lightning reads these when it is imported.
    rank_zero_only.rank = int(variables.get("RANK", variables.get("SLURM_PROCID", 0)))
    is_module = command[1] == "-m"
    sys.argv = command[2:] if is_module else command[1:]
    if is_module:
        importlib.import_module(sys.argv[0]).main()
    else:
        runpy.run_path(sys.argv[0], run_name="__main__")
