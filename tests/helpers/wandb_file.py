"""What a run has written for wandb: protocol buffers in the blocks of a LevelDB log, read as they lie there."""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

HEAD, BLOCK, PIECE = 7, 32768, 7  # bytes before the first block, of a block, and before each of its pieces
WHOLE, FIRST, LAST = 1, 2, 4  # kinds of pieces


def records(path: Path) -> Iterator[Any]:
    """All records, in the order in which they were written."""
    data, place, kept = path.read_bytes(), HEAD, b""
    assert data.startswith(b":W&B")
    while place + PIECE <= len(data):
        if BLOCK - place % BLOCK < PIECE:
            place += BLOCK - place % BLOCK
            continue
        length, kind = struct.unpack_from("<HB", data, place + 4)
        piece = data[place + PIECE : place + PIECE + length]
        place += PIECE + length
        kept = piece if kind in (WHOLE, FIRST) else kept + piece
        if kind in (WHOLE, LAST):
            record = Record()
            record.ParseFromString(kept)
            yield record


def _values(items: Any) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for item in items:
        *places, last = item.nested_key or [item.key]
        inner = values
        for place in places:
            inner = inner.setdefault(place, {})
        inner[last] = json.loads(item.value_json)
    return values


@dataclass
class Written:
    """One run as it was written.

    Attributes:
        run: its record: id, names, group, tags.
        config: by key.
        history: what was logged, row by row.
        summary: the last value of each key.
        exit_code: None if it was not ended.
        folder: that the files lie in.
    """

    run: Any
    config: dict[str, Any]
    history: list[dict[str, Any]]
    summary: dict[str, Any]
    exit_code: int | None
    folder: Path

    @classmethod
    def read(cls, folder: Path) -> "Written":
        """From a folder named offline-run-<time>-<id>."""
        (path,) = folder.glob("*.wandb")
        written = cls(None, {}, [], {}, None, folder / "files")
        for record in records(path):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                written.run = record.run
                written.config |= _values(record.run.config.update)
            elif kind == "config":
                written.config |= _values(record.config.update)
            elif kind == "history":
                written.history.append(_values(record.history.item))
            elif kind == "summary":
                written.summary |= _values(record.summary.update)
            elif kind == "exit":
                written.exit_code = record.exit.exit_code
        return written

    def logged(self, key: str) -> list[Any]:
        """Every value of a key."""
        return [row[key] for row in self.history if key in row]
