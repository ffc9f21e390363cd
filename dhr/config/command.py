"""The shell around every command: Hydra's conventions, our checks before it writes anything, our exit codes after."""

import logging
import os
import shlex
import sys
import traceback
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from select import POLLERR, poll
from signal import SIGPIPE
from typing import cast

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from dhr.config.compose import compose, find_plugins, finish, jobs
from dhr.config.overrides import check_typed, explain, loosen
from dhr.config.own import with_own
from dhr.config.texts import as_typed
from dhr.config.tree import config_folder
from dhr.core.errors import InputError
from dhr.runtime.signals import Stopped, stopping

WRONG_INPUT = 2
OUTPUT = 1  # its descriptor
WRONG_CONFIG = (InputError, HydraException, OmegaConfBaseException)


class Command:
    """A command line around a stage, a function that takes a checked configuration.

    It ends with exit code 0 when it is done, 2 when what the user gave is wrong, 1 for a defect of ours. The stage is
    imported after its configuration was checked: --help, --cfg job and a wrong command must not wait for torch.

    Args:
        name: of the command and of its YAML file.
        stage: "<module>:<function>".
    """

    def __init__(self, name: str, stage: str) -> None:
        self.name = name
        self.module, _, self.function = stage.partition(":")

    def run(self, cfg: DictConfig) -> object:
        """The stage itself."""
        return getattr(import_module(self.module), self.function)(cfg)

    def __call__(self) -> None:
        """Reads the command line, checks all of it, and runs the stage, or every job of a sweep."""
        typed = sys.argv[1:]
        os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra lets errors through instead of exiting with 1
        find_plugins()
        _write_anywhere()
        arguments = get_args_parser().parse_args()
        debug = any(word.endswith("debug=true") for word in arguments.overrides)
        logging.raiseExceptions = debug  # else a line that nobody reads is no error

        def job(raw: DictConfig) -> None:
            sys.argv[1:] = typed
            with exit_codes(WRONG_CONFIG, debug=bool(raw.get("debug"))):
                cfg = finish(self.name, raw, cast(DictConfig, HydraConfig.get()))
            with exit_codes((InputError,), debug=cfg.debug):
                self.run(cfg)

        with _unread(), _told(), stopping(), exit_codes(WRONG_CONFIG, debug=debug):
            check_before(self.name, arguments)
            for_hydra = {
                word: loosen(as_typed(self.name, word, sweep=arguments.multirun)) for word in arguments.overrides
            }
            sys.argv[1:] = _for_hydra(sys.argv[1:], for_hydra)
            hydra.main(version_base="1.3", config_path=str(config_folder()), config_name=self.name)(job)()


def command_line(name: str) -> str:
    """What was typed, to be typed again."""
    return " ".join([f"python -m dhr.{name}", *map(shlex.quote, sys.argv[1:])])


def check_before(name: str, arguments: Namespace) -> None:
    """Check 1 of the job, or of every job of a sweep, before Hydra calls anything or makes a folder."""
    words: Sequence[str] = arguments.overrides
    _check_options(arguments)
    if arguments.help or arguments.hydra_help or arguments.shell_completion or arguments.info is not None:
        return
    if arguments.cfg is not None:
        check_typed(name, [as_typed(name, word) for word in words])
        return
    for job in jobs(name, words) if arguments.multirun else [list(words)]:
        compose(name, job, folder=arguments.config_dir)


@contextmanager
def exit_codes(wrong_input: tuple[type[Exception], ...], *, debug: bool) -> Iterator[None]:
    """Turns errors that mean wrong input into a message and exit code 2; all others pass and give 1."""
    try:
        yield
    except wrong_input as error:
        if debug:
            traceback.print_exc()
        sys.stderr.write(f"{explain(error)}\n")
        raise SystemExit(WRONG_INPUT) from None


def _for_hydra(line: Sequence[str], words: Mapping[str, str]) -> list[str]:
    """The command line as Hydra is to see it: every word of `words` in its other form, and where further options are.

    Hydra takes the first of several search paths; words that no option parts from each other are read together.
    """
    *_, path = with_own([*words.values()]) or [""]
    found = [number for number, word in enumerate(line) if word in words] or [len(line)]
    further = [path] if path.startswith("hydra.searchpath=") else []
    seen = [words.get(word, word) for word in line]
    return [*seen[: found[0]], *further, *seen[found[0] :]]


@contextmanager
def _unread() -> Iterator[None]:
    """Ends a command that writes for nobody any more, as behind `| head -1`, as SIGPIPE would: without a word."""
    try:
        yield
    except BrokenPipeError:
        if not _nobody_reads():  # a pipe of our own to another process
            raise
        raise SystemExit(128 + SIGPIPE) from None
    finally:
        if _nobody_reads():
            os.dup2(os.open(os.devnull, os.O_WRONLY), OUTPUT)  # for what is written when the interpreter ends


def _nobody_reads() -> bool:
    """Whether the standard output is a pipe whose other end was closed."""
    watch = poll()
    watch.register(OUTPUT, 0)
    return any(event & POLLERR for _, event in watch.poll(0))


@contextmanager
def _told() -> Iterator[None]:
    """Says that a signal ended the command; its exit code is that of the signal."""
    try:
        yield
    except Stopped as stopped:
        sys.stderr.write(f"stopped by {stopped.name}; the same command goes on, trainings with resume=auto\n")
        raise


def _write_anywhere() -> None:
    """A terminal may know fewer letters than UTF-8: what it cannot show is written as an escape."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _check_options(arguments: Namespace) -> None:
    folder = arguments.config_dir
    if folder is not None and not Path(folder).is_dir():
        raise InputError(f"--config-dir: {folder}: no such folder")
    if arguments.multirun and arguments.cfg is not None:
        raise InputError(f"--cfg: {arguments.cfg}: shows a single job; leave -m out")
    for option in ("config_path", "config_name", "experimental_rerun"):  # the last one would load a pickle
        given = getattr(arguments, option)
        if given is not None:
            name = f"--{option.replace('_', '-')}"
            raise InputError(f"{name}: {given}: not offered; use --config-dir for files of your own")
