"""Archives for the VOC evaluation server: written the same bit by bit, and read back to be checked."""

import gzip
import io
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dhr.core.errors import InputError
from dhr.disk.atomic import write_atomically
from dhr.disk.reading import content_of

MEMBER_BYTES = 2**24  # far more than a mask of VOC has
MEMBERS = 10_000  # far more than a split of VOC has
UNREADABLE = (tarfile.TarError, zlib.error, OSError, EOFError)


def folder_of(competition: str, split: str) -> str:
    """Folder inside the archive, as the server wants it.

    >>> folder_of("comp6", "validation")
    'results/VOC2012/Segmentation/comp6_val_cls'
    """
    return f"results/VOC2012/Segmentation/{competition}_{'val' if split == 'validation' else split}_cls"


def write_archive(path: Path, folder: str, masks: Iterable[tuple[str, bytes]]) -> None:
    """Writes a .tar.gz of <folder>/<id>.png, whole or not at all; it has no time of its own.

    Args:
        path: of the archive.
        folder: inside it.
        masks: ids and the contents of their files.
    """
    raw = io.BytesIO()
    with gzip.GzipFile(fileobj=raw, mode="wb", mtime=0) as packed, tarfile.open(fileobj=packed, mode="w") as archive:
        for image_id, data in masks:
            member = tarfile.TarInfo(f"{folder}/{image_id}.png")
            member.size, member.mode = len(data), 0o644
            archive.addfile(member, io.BytesIO(data))
    write_atomically(path, raw.getvalue())


def read_archive(path: Path) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the files of an archive; nothing is unpacked to the disk.

    Raises:
        InputError: no readable .tar.gz, something in it that is neither a file nor a folder, or too much of it.
    """
    with _readable(path), tarfile.open(fileobj=io.BytesIO(content_of(path, "archive")), mode="r:gz") as archive:
        for number, member in enumerate(archive):
            if number >= MEMBERS or member.size > MEMBER_BYTES:
                raise InputError(f"{path}: {member.name}: larger than any archive of masks; write it anew")
            content = archive.extractfile(member) if member.isfile() else None
            if content is not None:
                yield member.name, content.read()
            elif not member.isdir():
                raise InputError(f"{path}: {member.name}: neither a file nor a folder; write the archive anew")


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except UNREADABLE as error:
        raise InputError(f"{path}: no readable .tar.gz ({error}); write it anew") from error
