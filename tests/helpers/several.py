"""Commands in one process and in two."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tiny import environment

TWO = ("trainer=ddp", "trainer.devices=2")
LAUNCHER = ("-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone")


def finish(command: list[str]) -> str:
    """Runs a command to its good end; processes that wait for each other forever are stopped together."""
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, env=environment(), start_new_session=True, **output) as process:
        try:
            said, _ = process.communicate(timeout=600)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    assert process.returncode == 0, said
    return str(said)


def finish_both(command: list[str], data: Path) -> str:
    """Runs a command in two processes that srun starts at once, to their good end; `data` is a folder of this test."""
    job = str(sum(map(ord, str(data))))  # Lightning makes the port of it
    shared = {"SLURM_JOB_ID": job, "SLURM_JOB_NAME": "test", "SLURM_NODELIST": "127.0.0.1", "MASTER_ADDR": "127.0.0.1"}
    shared |= {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "1", "SLURM_NODEID": "0"}
    places = [{"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)} for rank in (0, 1)]
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    started = [subprocess.Popen(command, env={**environment(), **shared, **place}, **output) for place in places]
    try:
        said = [process.communicate(timeout=300)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0, 0], "\n".join(said)
    return "\n".join(said)


def with_two(command: list[str]) -> list[str]:
    """python -m dhr.<verb> ... -> the same under torchrun."""
    return [sys.executable, *LAUNCHER, *command[1:]]
