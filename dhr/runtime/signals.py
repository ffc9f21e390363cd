"""Signals that end a process early: stages stop at once, trainings after the current step, helpers after their process.

`kill`, `docker stop`, a scheduler that takes the machine back, Ctrl-C and a closed terminal all come as a signal.
"""

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

ENDING = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)
)
INSISTS = 3.0  # seconds after which a further signal means: now
OUTLIVE = 120  # seconds that a helper process stays for the one that it works for
Handler = Callable[[int, FrameType | None], None]


class Stopped(SystemExit):
    """A signal ended the work before its end; the exit code is 128 + its number, as shells count."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = number

    @property
    def name(self) -> str:
        """Name of the signal, such as SIGTERM."""
        return signal.Signals(self.number).name


@dataclass
class Note:
    """The signal that came while work is finished before it is obeyed.

    Attributes:
        number: of the first signal, None before one came.
        settled: whether the work is being saved; then further signals change nothing.
    """

    number: int | None = None
    settled: bool = False
    _since: float = field(default=0.0, repr=False)

    def take(self, number: int, _: FrameType | None = None) -> None:
        """Writes the first signal down.

        Raises:
            Stopped: a further signal came more than INSISTS seconds later, and `settled` is false.
        """
        if self.number is None:
            self.number, self._since = number, time.monotonic()
        elif not self.settled and time.monotonic() - self._since > INSISTS:
            raise Stopped(number)


@contextmanager
def stopping() -> Iterator[None]:
    """Inside, a signal raises `Stopped` in the main thread."""

    def stop(number: int, _: FrameType | None) -> None:
        raise Stopped(number)

    with _handled_by(stop):
        yield


@contextmanager
def noted(note: Note) -> Iterator[None]:
    """Inside, a signal is only written down, for work that asks at points where it can be continued later."""
    with _handled_by(note.take):
        yield


@contextmanager
def handed_on(process: subprocess.Popen[bytes]) -> Iterator[Note]:
    """Inside, a signal is sent on to the child process that is waited for, and written down."""
    note = Note()

    def hand_on(number: int, frame: FrameType | None) -> None:
        process.send_signal(number)
        note.take(number, frame)

    with _handled_by(hand_on):
        yield note


@contextmanager
def _handled_by(handler: Handler) -> Iterator[None]:
    """Sets a handler for the time being; signals that the caller ignores, as nohup does, stay ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers, and only it is interrupted
        return
    before = {number: signal.getsignal(number) for number in ENDING}
    for number, old in before.items():
        if old is not signal.SIG_IGN:
            signal.signal(number, handler)
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, signal.SIG_DFL if old is None else old)


def outlive() -> None:
    """Lets a helper process go on after a signal: schedulers send it to all processes, and work is finished first.

    Helpers end with the process that they work for. Should that fail, an alarm ends them OUTLIVE seconds after it.
    """

    def stay(_: int, __: FrameType | None) -> None:
        signal.alarm(OUTLIVE)

    for number in ENDING:
        signal.signal(number, stay)
