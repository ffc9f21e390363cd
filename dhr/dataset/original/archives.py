"""Archives as they are downloaded: unpacked beside the data, whole or not at all, and nowhere else.

`tarfile` (filter="data") and `zipfile` would unpack them, too, but change names that lead elsewhere, keep links that
stay inside, and do not look at the checksum of a compressed tar. Here such an archive is refused.
"""

import bz2
import errno
import gzip
import lzma
import os
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any

from dhr.core.errors import InputError
from dhr.dataset.original.interface import SHOWN, Roots
from dhr.disk.file_names import printable
from dhr.disk.writing import writing
from dhr.runtime.progress import progress

ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
END_OF_TAR = 1024  # zero bytes that close a tar; a truncated one has none
BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, UnicodeDecodeError)
OF_NAMES = {errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL}
REASON = 300  # letters of what the libraries say, who repeat names
BY_HAND = "unpack this archive by hand, and use its folder"
_OPENERS: dict[str, Any] = {".gz": gzip.open, ".tgz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
Member = tuple[str, int, Callable[[], IO[bytes]]]  # name, length, opener


@dataclass
class Staging:
    """Folder on the disk of the data where archives are unpacked; what is unpacked is linked from there, then gone.

    Attributes:
        folder: its place.
        used: what this process has unpacked or found unpacked.
    """

    folder: Path
    used: list[Path] = field(default_factory=list)

    def roots(self, key: str, path: Path) -> Roots:
        """Where to look for what the argument `key` = `path` names: the folder itself, or the unpacked archive.

        Raises:
            InputError: neither a folder nor an archive, or a broken archive.
        """
        argument = f"{key}: {path}"
        if path.is_dir():
            return Roots(argument, (path,))
        if not path.is_file():
            raise InputError(f"{argument}: no such folder or archive; use {key}=<folder of the unpacked download>")
        if not path.name.lower().endswith(ENDINGS):
            raise InputError(f"{argument}: neither a folder nor an archive ({', '.join(ENDINGS)})")
        return Roots(argument, (self.unpacked(path),))

    def with_archives(self, roots: Roots) -> Roots:
        """`roots` and the content of the archives in its folders, except those that are unpacked there already.

        Raises:
            InputError: a broken archive.
        """
        files = [path for root in roots.folders for path in sorted(root.iterdir()) if path.is_file()]
        archives = [path for path in files if path.name.lower().endswith(ENDINGS)]
        unpacked = [self.unpacked(path) for path in archives if not _is_unpacked(path)]
        return Roots(roots.argument, (*roots.folders, *unpacked))

    def unpacked(self, archive: Path) -> Path:
        """Folder with the content of an archive; unpacked now unless it was before.

        Raises:
            InputError: broken, truncated, or with a member that leads elsewhere. Nothing is left of it then.
        """
        state = archive.stat()
        target = self.folder / f"{archive.name}-{state.st_size}-{state.st_mtime_ns}"
        if not target.is_dir():
            with writing(target):
                self._unpack(archive, target)
        self.used.append(target)
        return target

    def _unpack(self, archive: Path, target: Path) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=self.folder, prefix=".part-"))
        try:
            _unpack(archive, part)
            os.replace(part, target)
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def clear(self) -> None:
        """Removes what was unpacked, and what a killed process left half unpacked."""
        for path in (*self.used, *self.folder.glob(".part-*")):
            shutil.rmtree(path, ignore_errors=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()


def _unpack(archive: Path, target: Path) -> None:
    with _broken_named(archive), _members(archive) as members:
        for name, length, opened in progress(members, f"unpacking {archive.name}"):
            path = target / _inside(name, archive)
            with opened() as source, _new_file(path, name, archive) as file:
                shutil.copyfileobj(source, file, 1 << 20)
            if path.stat().st_size != length:
                raise EOFError(f"member {_short(name)} is cut short")


def _new_file(path: Path, name: str, archive: Path) -> IO[bytes]:
    """Opens the file of a member. The target folder is new, so only other members or the name itself can forbid it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("xb")
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno not in OF_NAMES:
            raise
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{archive}: {_short(name)}: no file can have this name here ({reason}); {BY_HAND}") from None


def _is_unpacked(archive: Path) -> bool:
    """Whether the first member lies beside the archive already, with the right length."""
    with _broken_named(archive), _members(archive) as members:
        for name, length, _ in members:
            path = archive.parent / _inside(name, archive)
            return os.path.isfile(path) and os.path.getsize(path) == length
    return True


@contextmanager
def _broken_named(archive: Path) -> Iterator[None]:
    try:
        yield
    except BROKEN as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # EINVAL: a member before the start
            if error.filename == str(archive):
                raise InputError(f"{archive}: cannot be read ({error.strerror}); get the right to read it") from None
            raise  # of the disk, such as no space left
        raise InputError(
            f"{archive}: truncated or broken archive ({_short(error, REASON)}); download it again"
        ) from None
    except RuntimeError as error:  # of zipfile: encrypted, or NotImplementedError for a compression
        raise InputError(
            f"{archive}: cannot be unpacked here ({_short(error, REASON)}); {BY_HAND}, or download it again"
        ) from None


@contextmanager
def _members(archive: Path) -> Iterator[Iterator[Member]]:
    """Regular files of an archive, in its order."""
    if archive.name.lower().endswith(".zip"):
        with zipfile.ZipFile(archive) as opened:
            files = (info for info in opened.infolist() if not info.filename.endswith("/"))  # is_dir fails without name
            yield ((info.filename, info.file_size, partial(opened.open, info)) for info in files)
    else:
        _refuse_cut_tar(archive)
        opener: Callable[[Path], IO[bytes]] = _OPENERS.get(archive.suffix.lower(), lambda path: path.open("rb"))
        with opener(archive) as file, tarfile.open(fileobj=file, mode="r|") as stream:
            yield _tar_members(stream, file, archive)


def _tar_members(stream: tarfile.TarFile, file: IO[bytes], archive: Path) -> Iterator[Member]:
    for info in stream:
        if info.isdir():
            continue
        if not info.isreg():
            raise InputError(f"{archive}: {_short(info.name)}: a link or a device, not a file; {BY_HAND}")
        yield info.name, info.size, partial(_content, stream, info)
    while file.read(1 << 20):  # to its end: only there are the checksums of the compressed forms
        pass


def _content(stream: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    content = stream.extractfile(info)
    if content is None:
        raise tarfile.ReadError(f"member {_short(info.name)} has no content")
    return content


def _refuse_cut_tar(archive: Path) -> None:
    """A plain tar that was cut between two members reads well; compressed ones notice by themselves."""
    if archive.suffix.lower() != ".tar":
        return
    with archive.open("rb") as file:
        file.seek(max(archive.stat().st_size - END_OF_TAR, 0))
        if file.read() != bytes(END_OF_TAR):
            raise tarfile.ReadError("the end of the archive is missing")


def _inside(name: str, archive: Path) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or not path.parts:
        raise InputError(f"{archive}: '{_short(name)}': leads out of the archive's folder; nothing was unpacked")
    return path


def _short(words: object, letters: int = SHOWN) -> str:
    """The beginning of a text, for messages: names in archives may have any length and hold any character."""
    return printable(str(words)[:letters])
