"""What goes wrong in a loader process is said as it would be in the main one: one message, no traceback."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from torch.utils.data import DataLoader, Dataset

from dhr.core.errors import InputError
from dhr.disk.annotation import read_tags
from dhr.disk.image import read_image
from dhr.disk.mask import read_mask


class Reading(Dataset[object]):
    """Items that are read from files, each in its way."""

    def __init__(self, items: Sequence[tuple[Callable[[Path], object], Path]]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> object:
        read, path = self.items[index]
        return read(path)


def tags(path: Path) -> object:
    """Tags of a data set with one class."""
    return read_tags(path, ["cat"])


def refuse(path: Path) -> object:
    """Several lines, and an error behind the error."""
    try:
        raise OSError("gone")
    except OSError as error:
        raise InputError(f"{path}: wrong\ncure: put it right") from error


def test_messages_are_the_same(tmp_path: Path) -> None:
    missing, broken = tmp_path / "missing.file", tmp_path / "broken.file"
    broken.write_bytes(b"broken")
    items = [(read, path) for path in (missing, broken) for read in (read_image, read_mask, tags, refuse)]
    loader = iter(DataLoader(Reading(items), num_workers=1))
    for read, path in items:
        with pytest.raises(InputError) as here:
            read(path)
        with pytest.raises(InputError) as there:
            next(loader)
        assert str(there.value) == str(here.value) and str(path) in str(here.value)
    assert [*loader] == []
