"""A Hydra launcher for sweeps: each job is a process of its own, one after the other."""

import ctypes
import logging
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra._internal.utils import get_args_parser
from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus, configure_log
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from dhr.config.compose import compose, run_name
from dhr.config.groups import groups
from dhr.config.overrides import parse, tighten, value_of
from dhr.core.errors import InputError
from dhr.disk.layout import RunFolder
from dhr.runtime.signals import Stopped, handed_on

log = logging.getLogger(__name__)
PARENT_DIED = 1  # PR_SET_PDEATHSIG of Linux's prctl


@dataclass
class ProcessLauncherConfig:
    """What `hydra/launcher=process` means."""

    _target_: str = "hydra_plugins.dhr_launcher.ProcessLauncher"


ConfigStore.instance().store(group="hydra/launcher", name="process", node=ProcessLauncherConfig, provider="dhr")


class ProcessLauncher(Launcher):
    """Runs `python -m dhr.<verb>` for every job, goes on after a job that failed, and leaves finished runs alone.

    Jobs do not share a process, so that data parallel training, which starts the same command again on every rank,
    starts one job and not the sweep.
    """

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra before `launch`."""
        self.config = config
        self.verb = str(config.hydra.job.config_name)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Runs all jobs.

        Raises:
            SystemExit: at the end, with 2 if every job that failed did so for wrong input, else with 1.
        """
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        jobs = [[tighten(word) for word in job] for job in job_overrides]
        swept = {word for job in jobs for word in job if not all(word in other for other in jobs)}
        failed: dict[str, int] = {}
        for number, words in enumerate(jobs, start=1):
            label = " ".join(_shown(word) for word in words if word in swept) or self.verb
            log.info(f"job {number} of {len(jobs)}: {label}")
            status = self._run(words, swept)
            if status != 0:
                failed[label] = status
        for label, status in failed.items():
            log.error(f"job failed with exit code {status}: {label}")
        if failed:
            raise SystemExit(2 if set(failed.values()) == {2} else 1)
        return [JobReturn(overrides=words, status=JobStatus.COMPLETED) for words in jobs]

    def _run(self, words: list[str], swept: set[str]) -> int:
        folder = get_args_parser().parse_known_args()[0].config_dir
        if self.verb == "train":
            cfg = compose("train", words, folder=folder)
            name = sweep_name(cfg, [word for word in words if word in swept])
            run = Path(cfg.paths.outputs) / cfg.dataset.name / "runs" / name
            if is_finished(run):
                log.info(f"{run} is finished: left as it is")
                return 0
            words = [*(word for word in words if not word.startswith("resume=")), f"name={name}", "resume=auto"]
        options = ["--config-dir", folder] if folder else []
        command = [sys.executable, "-m", f"dhr.{self.verb}", *options, *words]
        with subprocess.Popen(command, preexec_fn=_end_with_parent) as job, handed_on(job) as note:
            status = job.wait()
        if note.number is not None:
            raise Stopped(note.number)  # the sweep, too; started again, it goes on with this job
        return status


def sweep_name(cfg: DictConfig, swept: Sequence[str]) -> str:
    """Name of one run of a sweep: that of the single run, and the swept values that are not in it."""
    derived = cfg.name == run_name(OmegaConf.to_container(cfg))  # type: ignore[arg-type]
    left_out = {"name", "dataset", *((*groups("in_name"), "seed", "tau") if derived else ())}
    parts = [str(cfg.name)]
    for override in parse(swept):
        key, value = override.key_or_group, value_of(override)
        if key not in left_out:
            parts.append(f"{key.rpartition('.')[2]}{'_' if value[:1].isalpha() else ''}{value}")
    return re.sub(r"[^A-Za-z0-9._-]", "_", "-".join(parts))


def _shown(word: str) -> str:
    (override,) = parse([word])
    return f"{override.key_or_group}={value_of(override)}"


def is_finished(run: Path) -> bool:
    """True if the record of a run says so."""
    try:
        return RunFolder(run).is_finished
    except (InputError, OSError):
        return False


def _end_with_parent() -> None:
    """A sweep that is killed takes its running job with it; else starting it again would run that job twice."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PARENT_DIED, signal.SIGTERM)
