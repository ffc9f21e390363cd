"""One folder, one writer: a lock that the operating system releases when its process dies."""

import contextlib
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dhr.core.errors import InputError
from dhr.disk.writing import writing


@contextmanager
def only_writer(folder: Path, *, wanted: bool = True) -> Iterator[None]:
    """Makes sure that no other process writes into `folder`; the lock lies beside it, as .<folder>.lock.

    It is a record lock, so it belongs to this process alone, not to those that it forks, and ends with it.

    Args:
        folder: need not exist.
        wanted: False for the further processes of a job, whose first one holds the lock.

    Raises:
        InputError: another process holds it; says which. Or the disk takes no lock.
    """
    if not wanted:
        yield
        return
    path = folder.parent / f".{folder.name}.lock"
    made = [parent for parent in path.parents if not parent.exists()]  # the innermost first
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _locked(path, folder)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is held: whoever opened it meanwhile sees that it is gone
        os.close(descriptor)
        for parent in made:
            with contextlib.suppress(OSError):  # something was put there, which is what it was made for
                parent.rmdir()


def _locked(path: Path, folder: Path) -> int:
    """An open lock file that is locked, and still the one at `path`."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            holder = os.read(descriptor, 1000).decode(errors="replace")
            os.close(descriptor)
            cure = "wait until it is done, or choose another name"
            raise InputError(f"{folder}: another process writes into it ({holder or 'just begun'}); {cure}") from None
        if _is_at(descriptor, path):
            os.ftruncate(descriptor, 0)
            os.write(descriptor, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode())
            return descriptor
        os.close(descriptor)  # its holder removed it between opening and locking


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
