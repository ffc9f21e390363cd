"""Commands in one process and in two."""

import os
import signal
import subprocess
import sys

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


def with_two(command: list[str]) -> list[str]:
    """python -m dhr.<verb> ... -> the same under torchrun."""
    return [sys.executable, *LAUNCHER, *command[1:]]
