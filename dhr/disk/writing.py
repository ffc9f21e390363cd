"""What every write has in common: an error that names the cure, and a name for the file until it is whole."""

import contextlib
import errno
import hashlib
import os
import re
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from dhr.core.errors import InputError

LONGEST = 40  # letters of a file's name that its part carries: a name has at most 255 bytes
FORGOTTEN = 3 * 24 * 3600  # seconds after which no write is at work any more, wherever its process is
PLACES = "or choose another place (paths.outputs=<folder>; paths.data, wss.masks or uss.store for what lies there)"
FULL = f"free space there, {PLACES}"
FORBIDDEN = f"get the right to write there, {PLACES}"
OCCUPIED = f"move away what lies there, {PLACES}"
CURES = {
    errno.ENOSPC: FULL,
    errno.EDQUOT: FULL,
    errno.EFBIG: f"raise the limit on the length of files (ulimit -f), {PLACES}",
    errno.EACCES: FORBIDDEN,
    errno.EPERM: FORBIDDEN,
    errno.EROFS: FORBIDDEN,
    errno.ENOTDIR: OCCUPIED,
    errno.EISDIR: OCCUPIED,
    errno.EEXIST: OCCUPIED,
    errno.ENAMETOOLONG: "use shorter names",
    errno.EMFILE: "raise the limit on open files (ulimit -n), or use fewer workers",
}
OTHER = f"see to that disk, {PLACES}"
_PART = re.compile(r"\..*\.(?P<place>[0-9a-f]{12})-(?P<pid>[0-9]+)-(?P<start>[0-9]*)-[0-9a-f]{12}\.part", re.DOTALL)


class UnwritableError(InputError):
    """The disk does not take a file: it is full, read-only, or something else lies in its place."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns an error of the system on writing `path` into a message with the cure.

    Raises:
        UnwritableError: an OSError was raised inside.
    """
    try:
        yield
    except OSError as error:
        cure = CURES.get(error.errno or 0, OTHER)
        reason = error.strerror or type(error).__name__
        if cure is OCCUPIED:  # by a file where a folder has to be, or else by a folder where the file has to be
            reason += f": {next((parent for parent in path.parents if parent.exists() and not parent.is_dir()), path)}"
        raise UnwritableError(f"{path}: cannot be written ({reason}); {cure}") from None


def part_of(path: Path) -> str:
    """A hidden name beside `path` that no other process, on this machine or another, uses.

    It tells which process writes it, so that what a killed one left can be told from what is being written.
    """
    pid = os.getpid()
    owner = f"{_place()}-{pid}-{_start_of(pid) or ''}-{secrets.token_hex(6)}"
    return f"{path.parent}/.{path.name[:LONGEST]}.{owner}.part"


def remove_orphans(folder: Path, of: str = "") -> None:
    """Removes the parts in a folder that nobody completes: their writer is dead, or they are days old.

    Parts of living processes stay, and so do younger ones of other machines. The folder is listed once; the first
    part that cannot be removed ends the removal.

    Args:
        folder: need not exist.
        of: with what the names of their files begin, in a folder that may hold files of others.
    """
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            if name.startswith(f".{of[:LONGEST]}") and name.endswith(".part") and _is_orphan(folder / name):
                (folder / name).unlink()


def _is_orphan(part: Path) -> bool:
    owner = _PART.fullmatch(part.name)
    if owner is not None and owner["place"] == _place():
        start = _start_of(int(owner["pid"]))
        return start is None or start != owner["start"]
    return part.is_file() and time.time() - part.stat().st_mtime > FORGOTTEN


@lru_cache(maxsize=1)
def _place() -> str:
    """Digest of the machine and the container, within which a process number names one process."""
    with contextlib.suppress(OSError):
        return _digest(f"{socket.gethostname()} {os.readlink('/proc/self/ns/pid')}")
    return _digest(socket.gethostname())


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def _start_of(pid: int) -> str | None:
    """When a living process began, in clock ticks; "" where the system does not tell, None without such a process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return None if fields[0] in {b"Z", b"X"} else fields[19].decode()  # a zombie writes nothing any more
    except (FileNotFoundError, ProcessLookupError):
        return None if os.path.exists("/proc/self/stat") else _is_alive(pid)


def _is_alive(pid: int) -> str | None:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except OSError:  # of somebody else
        return ""
    return ""
