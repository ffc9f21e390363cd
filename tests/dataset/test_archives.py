"""Archives are unpacked whole or not at all, and nothing lands outside their folder."""

import zipfile
from pathlib import Path

import pytest
from downloads import hostile_tar, make_ade, pack

from dhr.core.errors import InputError
from dhr.dataset.original.archives import Staging
from dhr.dataset.original.interface import Roots

ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz")


@pytest.fixture
def staging(tmp_path: Path) -> Staging:
    return Staging(tmp_path / "data" / ".unpacked")


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("ending", ENDINGS)
def test_unpacked_whole_and_once(tmp_path: Path, staging: Staging, ending: str) -> None:
    home = make_ade(tmp_path / "original")
    archive = pack(home, tmp_path / f"ade{ending}")
    roots = staging.roots("source", archive)
    assert content(roots.folders[0]) == content(home.parent)
    first = roots.folders[0].stat().st_mtime_ns
    assert Staging(staging.folder).roots("source", archive).folders[0].stat().st_mtime_ns == first
    staging.clear()
    assert not staging.folder.exists()


@pytest.mark.parametrize(
    "ending, share",
    [*((ending, share) for ending in ENDINGS for share in (0.3, 0.5)), *((ending, 0.98) for ending in ENDINGS[2:])],
)
def test_truncated_archive_leaves_nothing(tmp_path: Path, staging: Staging, ending: str, share: float) -> None:
    archive = pack(make_ade(tmp_path / "original"), tmp_path / f"ade{ending}")
    archive.write_bytes(archive.read_bytes()[: int(archive.stat().st_size * share)])
    with pytest.raises(InputError, match=r"ade.*truncated or broken archive.*download it again"):
        staging.roots("source", archive)
    assert list(staging.folder.glob("*")) == []


def test_tar_cut_between_two_members(tmp_path: Path, staging: Staging) -> None:
    archive = pack(make_ade(tmp_path / "original"), tmp_path / "ade.tar")
    data = archive.read_bytes()
    end = data.rindex(b"ADEChallengeData2016/")  # header of the last member
    archive.write_bytes(data[:end])
    with pytest.raises(InputError, match="the end of the archive is missing"):
        staging.roots("source", archive)


def test_flipped_byte_in_a_zip(tmp_path: Path, staging: Staging) -> None:
    archive = pack(make_ade(tmp_path / "original"), tmp_path / "ade.zip")
    data = bytearray(archive.read_bytes())
    data[200] ^= 1
    archive.write_bytes(data)
    with pytest.raises(InputError, match="broken archive"):
        staging.roots("source", archive)
    assert list(staging.folder.glob("*")) == []


@pytest.mark.parametrize("name", ("../evil.txt", "/tmp/evil.txt", "a/../../evil.txt", "..\\evil.txt"))
def test_member_that_leads_outside(tmp_path: Path, staging: Staging, name: str) -> None:
    for archive in (hostile_tar(tmp_path / "bad.tar", name), tmp_path / "bad.zip"):
        if archive.suffix == ".zip":
            with zipfile.ZipFile(archive, "w") as packed:
                packed.writestr(name, "evil")
        with pytest.raises(InputError, match="leads out of the archive's folder"):
            staging.roots("source", archive)
    assert not list(tmp_path.rglob("evil.txt"))


def test_link_in_an_archive(tmp_path: Path, staging: Staging) -> None:
    archive = hostile_tar(tmp_path / "bad.tar", "passwords", link="/etc/passwd")
    with pytest.raises(InputError, match="passwords: a link or a device"):
        staging.roots("source", archive)


def test_archives_in_a_folder_unless_unpacked_there(tmp_path: Path, staging: Staging) -> None:
    home = make_ade(tmp_path / "original")
    archive = pack(home, tmp_path / "original" / "ade.zip")
    given = Roots("source: x", (tmp_path / "original",))
    assert staging.with_archives(given) == given  # its first file lies beside it
    moved = tmp_path / "only_archive"
    moved.mkdir()
    archive.rename(moved / "ade.zip")
    wider = staging.with_archives(Roots("source: x", (moved,)))
    assert wider.find("ADEChallengeData2016/images/training", holding="*.jpg") is not None


@pytest.mark.parametrize("name, match", (("nothing.zip", "no such folder or archive"), ("a.txt", "neither a folder")))
def test_neither_folder_nor_archive(tmp_path: Path, staging: Staging, name: str, match: str) -> None:
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(InputError, match=match):
        staging.roots("source", tmp_path / name)


def test_what_a_killed_process_left_is_removed(tmp_path: Path, staging: Staging) -> None:
    (staging.folder / ".part-abc").mkdir(parents=True)
    staging.roots("source", pack(make_ade(tmp_path / "original"), tmp_path / "ade.zip"))
    staging.clear()
    assert not staging.folder.exists()
