"""What goes wrong in a loader process is said as it would be in the main one: one message, no traceback."""

from collections.abc import Callable
from pathlib import Path

import pytest
from torch.utils.data import DataLoader, Dataset

from dhr.core.errors import InputError
from dhr.disk.annotation import read_tags
from dhr.disk.image import read_image
from dhr.disk.mask import read_mask


class Reading(Dataset[object]):
    """Items that are read from one file."""

    def __init__(self, read: Callable[[Path], object], path: Path) -> None:
        self.read, self.path = read, path

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> object:
        return self.read(self.path)


def tags(path: Path) -> object:
    """Tags of a data set with one class."""
    return read_tags(path, ["cat"])


def refuse(path: Path) -> object:
    """Several lines, and an error behind the error."""
    try:
        raise OSError("gone")
    except OSError as error:
        raise InputError(f"{path}: wrong\ncure: put it right") from error


@pytest.mark.parametrize("read", [read_image, read_mask, tags, refuse])
@pytest.mark.parametrize("content", [None, b"broken"])
def test_message_is_the_same(tmp_path: Path, read: Callable[[Path], object], content: bytes | None) -> None:
    path = tmp_path / "a.file"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as here:
        read(path)
    with pytest.raises(InputError) as there:
        list(DataLoader(Reading(read, path), num_workers=1))
    assert str(there.value) == str(here.value) and str(path) in str(here.value)
