"""Whether a file is unchanged: by its content, or by the stamps of its last change."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from dhr.core.errors import InputError

READ_AT_ONCE = 1 << 20  # bytes


class Mark(NamedTuple):
    """Length and digest (BLAKE2b, 16 bytes, hexadecimal) of a file, and when content and inode changed (ns).

    A program can set `mtime` to anything; `ctime` is the system's own.
    """

    length: int
    digest: str
    mtime: int
    ctime: int

    @classmethod
    def of(cls, path: Path, data: bytes | None = None) -> Self:
        """The mark of a file; `data` is its content where that is at hand.

        Raises:
            OSError: it cannot be read.
        """
        if data is not None:
            stat, digest = path.stat(), hashlib.blake2b(data, digest_size=16)
            return cls(len(data), digest.hexdigest(), stat.st_mtime_ns, stat.st_ctime_ns)
        digest = hashlib.blake2b(digest_size=16)
        with path.open("rb") as file:
            stat = os.fstat(file.fileno())  # before it is read: a change meanwhile is noticed by the next look
            while piece := file.read(READ_AT_ONCE):
                digest.update(piece)
        return cls(stat.st_size, digest.hexdigest(), stat.st_mtime_ns, stat.st_ctime_ns)

    @classmethod
    def parse(cls, values: Sequence[Any]) -> Self:
        """From a line of JSON.

        Raises:
            ValueError, TypeError, IndexError: it is none.
        """
        return cls(int(values[0]), str(values[1]), int(values[2]), int(values[3]))

    def compared(self, path: Path, *, thorough: bool = False) -> "Mark | str":
        """The mark of a file whose content is still this one; else what differs.

        A file of the same length and stamps is taken for the same without being read, unless `thorough`.
        """
        try:
            stat = path.stat()
            if stat.st_size != self.length:
                return f"{stat.st_size} bytes, not {self.length} as when it was made"
            if not thorough and (stat.st_mtime_ns, stat.st_ctime_ns) == (self.mtime, self.ctime):
                return self
            now = Mark.of(path)
        except FileNotFoundError:
            return "missing"
        except OSError as error:
            return f"unreadable ({error.strerror})"
        return now if now.digest == self.digest else "other content than when it was made"


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, as "sha256:<hexadecimal>".

    Raises:
        InputError: it cannot be read, or is no file.
    """
    try:
        with path.open("rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    except OSError as error:
        raise InputError(f"{path}: unreadable ({error.strerror}); fetch or make this file again") from None
