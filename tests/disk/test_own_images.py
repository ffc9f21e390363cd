"""Which images a folder, a file or a pattern names."""

from pathlib import Path

import pytest
from own_pictures import picture

from dhr.core.errors import InputError
from dhr.disk.own_images import OwnImages


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """Two images, one of them in a folder."""
    for name in ("a.png", "pets/b.png"):
        picture(tmp_path / "mine" / name)
    return tmp_path


PATTERNS: dict[str, set[str]] = {
    "mine": {"a", "pets/b"}, "mine/a.png": {"a"}, "mine/*.png": {"a"}, "mine/**/*.png": {"a", "pets/b"},
    "mine/*/b.*": {"pets/b"}, "m*/[ab].png": {"mine/a"}, "mine/pets/?.png": {"b"}, "mine/p**/*": {"pets/b"},
}  # fmt: skip


@pytest.mark.parametrize("given", PATTERNS)
def test_folders_files_and_patterns(there: Path, given: str) -> None:
    assert set(OwnImages.at(f"{there}/{given}").files) == PATTERNS[given]


def test_a_folder_whose_name_looks_like_a_pattern(there: Path) -> None:
    (there / "mine").rename(there / "[mine]*")
    assert set(OwnImages.at(f"{there}/[mine]*").files) == {"a", "pets/b"}


@pytest.mark.parametrize("given", ["mine/*.jpg", "mine/none/*", "empty", "only notes"])
def test_nothing_there_is_an_error(there: Path, given: str) -> None:
    (there / "empty").mkdir()
    (there / "only notes").mkdir()
    (there / "only notes" / "a.txt").touch()
    with pytest.raises(InputError, match=r"no image there|no folder"):
        OwnImages.at(f"{there}/{given}")


def test_a_mask_and_a_folder_of_one_name(there: Path) -> None:
    picture(there / "mine" / "a.png.webp")
    picture(there / "mine" / "a.png.png")
    with pytest.raises(InputError, match=r"a\.png\.webp: a\.png\.png beside it has the same id"):
        OwnImages.at(f"{there}/mine")
    (there / "mine" / "a.png.webp").unlink()
    picture(there / "mine" / "b.png" / "c.png")
    picture(there / "mine" / "b.bmp")
    with pytest.raises(InputError, match=r"b\.bmp: its mask would be in the way of the folder b\.png; rename it"):
        OwnImages.at(f"{there}/mine")
