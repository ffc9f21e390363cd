"""Files that are written whole or not at all, and the JSON among them."""

import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dhr.core.errors import InputError
from dhr.disk.reading import read_file
from dhr.disk.writing import part_of, writing

JSON_BYTES = 1 << 26  # of a file that is read as a whole; scores, records and audits have far less


def write_atomically(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Writes `data` to `path` so that a reader sees the old file or the new one, never a part of it.

    Args:
        path: of the file; folders are made.
        data: all of it.
        durable: False does not wait for the disk (some milliseconds a file). A power cut, not a crash, can then leave
            an empty file: only for files whose length and digest are kept elsewhere, as in a manifest.

    Raises:
        UnwritableError: the disk is full or read-only, or something else lies in the way; the old file stays.
    """
    write_stream(path, [data], durable=durable)


def write_stream(path: Path, parts: Iterable[bytes], *, durable: bool = True) -> None:
    """Writes `parts` behind each other to `path`, whole or not at all, also where making them fails.

    Raises:
        UnwritableError: the disk is full or read-only, or something else lies in the way; the old file stays.
    """
    part = Path(part_of(path))
    with writing(path):
        try:
            _write(part, parts, durable=durable)
            os.replace(part, path)
        except BaseException:
            with contextlib.suppress(OSError):
                part.unlink()
            raise


def _write(part: Path, parts: Iterable[bytes], *, durable: bool) -> None:
    try:
        file = open(part, "xb")
    except FileNotFoundError:
        part.parent.mkdir(parents=True, exist_ok=True)
        file = open(part, "xb")
    with file:
        file.writelines(parts)
        if durable:
            file.flush()
            os.fsync(file.fileno())


def write_json(path: Path, value: object) -> None:
    """Writes `value` as indented JSON, atomically."""
    write_atomically(path, (json.dumps(value, indent=1, sort_keys=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Raises:
        InputError: the file is missing or is not JSON, or no file at all, such as a pipe.
    """
    cure = "check the folder or run the stage that writes it"
    data = read_file(path, "JSON", absent="no such file", cure=cure, limit=JSON_BYTES)
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not readable as JSON ({error}); delete it and run its stage again") from None


def read_object(path: Path) -> dict[str, Any]:
    """Reads a JSON file that holds an object.

    Raises:
        InputError: missing, unreadable, or something else than an object.
    """
    value = read_json(path)
    if not isinstance(value, dict):
        raise InputError(f"{path}: {type(value).__name__}: has to be a JSON object; delete it and run its stage again")
    return value


def update_record(path: Path, values: Mapping[str, object]) -> None:
    """Adds `values` to a JSON object on disk, which is made if it is not there."""
    write_json(path, {**(read_object(path) if path.exists() else {}), **values})
