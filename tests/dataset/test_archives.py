"""Archives are unpacked whole or not at all, and nothing lands outside their folder."""

import random
import tarfile
import warnings
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


def packed(archive: Path, names: tuple[str, ...]) -> Path:
    """An archive with an empty member of each of these names."""
    if archive.suffix == ".zip":
        with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(archive, "w") as opened:
            for name in names:
                opened.writestr(name, "")
    else:
        with tarfile.open(archive, "w:gz" if archive.suffix == ".gz" else "w", format=tarfile.PAX_FORMAT) as stream:
            for name in names:
                stream.addfile(tarfile.TarInfo(name))
    return archive


@pytest.mark.parametrize("ending", (".zip", ".tar"))
@pytest.mark.parametrize(
    "names",
    (
        ("a", "a"),
        ("./a", "a"),
        ("a", "a/b"),
        ("a", "a/b/c"),
        ("a/b", "a"),
        ("x" * 300,),
        ("x" * 300 + "/a",),
        ("\n" * 300,),
    ),
    ids=lambda names: ascii(" ".join(names)[:20]),
)
def test_names_that_no_folder_holds(tmp_path: Path, staging: Staging, ending: str, names: tuple[str, ...]) -> None:
    archive = packed(tmp_path / f"bad{ending}", names)
    with pytest.raises(
        InputError, match=rf"bad\{ending}: .*: no file can have this name .*; unpack .* by hand"
    ) as error:
        staging.roots("source", archive)
    assert str(error.value).isprintable() and list(staging.folder.glob("*")) == []


@pytest.mark.parametrize("ending", (".zip", ".tar"))
def test_a_long_name_in_an_archive_beside_others(tmp_path: Path, staging: Staging, ending: str) -> None:
    packed(tmp_path / f"bad{ending}", ("x" * 300,))
    with pytest.raises(InputError, match="no file can have this name"):
        staging.with_archives(Roots("source: x", (tmp_path,)))


@pytest.mark.parametrize(
    ("head", "directory", "value", "said"),
    [
        (6, 8, 1, "encrypted"), (6, 8, 32, "cannot be unpacked here .*flag bit 5"),
        (8, 10, 97, "cannot be unpacked here .*compression"), (None, 6, 200, "cannot be unpacked here .*version"),
        (None, 28, 0, "broken archive"), (None, 45, 255, "broken archive"), (None, 46, 255, "broken archive"),
    ],
    ids=["encrypted", "patched", "compression", "version", "no name", "a place before the start", "another name"],
)  # fmt: skip
def test_zips_that_are_read_by_others(
    tmp_path: Path, staging: Staging, head: int | None, directory: int, value: int, said: str
) -> None:
    """One byte is another in the header of a member, and where the directory at the end says the same."""
    archive = packed(tmp_path / "other.zip", ("a.txt",))
    data = bytearray(archive.read_bytes())
    if head is not None:
        data[head] = value
    data[data.index(b"PK\x01\x02") + directory] = value
    archive.write_bytes(data)
    with pytest.raises(InputError, match=rf"other\.zip: .*({said}).*; ") as error:
        staging.roots("source", archive)
    assert "cannot be written" not in str(error.value) and list(staging.folder.glob("*")) == []


@pytest.mark.parametrize("ending", ENDINGS[:3])
def test_any_bytes_are_unpacked_or_refused(tmp_path: Path, staging: Staging, ending: str) -> None:
    archive = packed(tmp_path / f"changed{ending}", ("a/b.txt", "c.txt"))
    good, rng = archive.read_bytes(), random.Random(3)
    meant = [*range(min(len(good), 1100)), len(good) - 1]  # headers, and the end of a tar is nothing but zeros
    for _ in range(100):
        data = bytearray(good)
        for at in rng.sample(meant, rng.choice((1, 2, 4))):
            data[at] = rng.choice((0, 255, rng.randrange(256)))
        archive.write_bytes(data)
        try:
            staging.roots("source", archive)
        except InputError as error:
            assert str(archive) in str(error) and "cannot be written" not in str(error) and len(str(error)) < 800
        staging.clear()


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
