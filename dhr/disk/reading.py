"""Files of the user, read within limits: what is wrong with one is said of that file."""

import stat
import struct
import zlib
from pathlib import Path

import deflate
from PIL import Image

from dhr.core.errors import InputError

PIXELS = 89_478_485  # of an image; beyond it Pillow warns of a decompression bomb, at twice as many it refuses
FILE_BYTES = 1 << 28  # of an image or mask: as many bytes as PIXELS in RGB
AGAIN = "fetch or make this file again"
# What Pillow's readers, and ours, are known to raise on broken files.
BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    EOFError,
    struct.error,
    zlib.error,
    deflate.DeflateError,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


class BadFileError(InputError):
    """One file is wrong. Has a single argument, the message, so that it survives the way between processes.

    Attributes:
        path: the file.
        kind: what is wrong in two words, equal for all files that suffer from the same.
        problem: what is wrong with this one, with the value.
        cure: what to do.
    """

    path = Path()
    kind = problem = cure = ""

    @classmethod
    def of(cls, path: Path, kind: str, *, problem: str, cure: str) -> "BadFileError":
        """The error with its message made of the parts."""
        error = cls(f"{path}: {problem}; {cure}")
        error.path, error.kind, error.problem, error.cure = path, kind, problem, cure
        return error


def read_file(path: Path, what: str, *, absent: str, cure: str, limit: int = FILE_BYTES) -> bytes:
    """The content of a file.

    Args:
        path: where it lies.
        what: kind of file, such as "image" or "mask", in messages.
        absent: problem to report if the file is missing.
        cure: cure to report if the file is missing.
        limit: largest number of bytes that is read.

    Raises:
        BadFileError: missing, empty, unreadable, larger than `limit`, or something else than a file.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            problem = "not a file"  # and not opened: reading a pipe would wait for ever
        elif status.st_size > limit:
            problem = f"{status.st_size:,} bytes; allowed are {limit:,}"
        elif status.st_size == 0:
            problem = "0 bytes"
        else:
            return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise BadFileError.of(path, f"{what}: missing", problem=absent, cure=cure) from None
    except OSError as error:
        problem = error.strerror or type(error).__name__
    kind = "empty" if problem == "0 bytes" else "unreadable"
    raise BadFileError.of(path, f"{what}: {kind}", problem=f"unreadable {what} ({problem})", cure=AGAIN)


def content_of(path: Path, what: str) -> bytes:
    """The content of an image's or a mask's file, as `read_file`."""
    cure = "restore the file or take its id out of the split"
    return read_file(path, what, absent=f"this {what} is missing", cure=cure)
