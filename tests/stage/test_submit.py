"""The archive for the VOC server: all of a split, as the server wants it, or refused."""

import importlib
import io
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dhr.config.compose import compose
from dhr.core.errors import InputError
from dhr.dataset.classes import load_classes
from dhr.disk.mask import encode_mask
from dhr.disk.submission import read_archive, write_archive

VOC = load_classes("voc")
COUNT, SIZE = 1449, (3, 4)  # published number of images; height and width of ours
FOLDER = "results/VOC2012/Segmentation/comp6_val_cls"
MASK = np.arange(12, dtype=np.uint8).reshape(SIZE)


def name_of(number: int) -> str:
    return f"2007_{number:06d}"


def linked(path: Path, count: int) -> None:
    """`count` files of the same content as `path`, with ids of their own."""
    for number in range(count):
        os.link(path, path.with_name(f"{name_of(number)}{path.suffix}"))
    path.unlink()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """VOC's validation split with tiny images, and a mask for each."""
    root = tmp_path_factory.mktemp("voc")
    for folder, name in (("data/VOC2012/validation/image", "a.jpg"), ("masks", "a.png")):
        (root / folder).mkdir(parents=True)
        path = root / folder / name
        if name.endswith("jpg"):
            Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(path)
        else:
            path.write_bytes(encode_mask(MASK, VOC.palette))
        linked(path, COUNT)
    return root


@pytest.fixture
def there(prepared: Path, tmp_path: Path) -> Path:
    """The same, there to be broken."""
    shutil.copytree(prepared, tmp_path / "voc", copy_function=os.link)
    return tmp_path / "voc"


def submit(root: Path, *words: str) -> Path:
    given = [] if any(word.startswith("archive=") for word in words) else [f"masks={root / 'masks'}"]
    typed = ["dataset=voc", f"paths.data={root / 'data'}", *given, "split=validation", *words]
    path: Path = importlib.import_module("dhr.submit").main.run(compose("submit", typed))
    return path


def members(root: Path) -> dict[str, bytes]:
    return {f"{FOLDER}/{path.name}": path.read_bytes() for path in (root / "masks").iterdir()}


def packed(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def test_the_archive_holds_every_mask_under_the_name_that_the_server_reads(prepared: Path, tmp_path: Path) -> None:
    path = submit(prepared, f"output={tmp_path / 'a.tar.gz'}")
    found = dict(read_archive(path))
    assert {*found} == {f"{FOLDER}/{name_of(number)}.png" for number in range(COUNT)}
    with Image.open(io.BytesIO(found[f"{FOLDER}/{name_of(7)}.png"])) as picture:
        colours = picture.getpalette() or []
        assert picture.mode == "P" and (np.asarray(picture) == MASK).all()
    assert [tuple(colours[3 * label : 3 * label + 3]) for label in (0, 1, 15, 20)] == [
        (0, 0, 0), (128, 0, 0), (192, 128, 128), (0, 64, 128)
    ]  # fmt: skip
    again = submit(prepared, f"output={tmp_path / 'b.tar.gz'}")
    assert again.read_bytes() == path.read_bytes()
    assert submit(prepared, f"archive={path}") == path


def test_an_archive_is_not_replaced_unasked(there: Path) -> None:
    path = submit(there, "competition=comp5")
    assert path == there / "comp5_validation.tar.gz" and next(read_archive(path))[0].split("/")[3] == "comp5_val_cls"
    with pytest.raises(InputError, match="is there already; overwrite=true"):
        submit(there, "competition=comp5")
    submit(there, "competition=comp5", "overwrite=true")


def wrong_mask(mask: np.ndarray) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        path = root / "masks" / f"{name_of(3)}.png"
        path.unlink()  # a link to the file of all others
        path.write_bytes(encode_mask(mask, VOC.palette))

    return write


MASKS: list[tuple[Callable[[Path], None], str]] = [
    (wrong_mask(np.full(SIZE, 255, np.uint8)), "2007_000003.png: label 255: a pixel without a class"),
    (wrong_mask(np.full(SIZE, 21, np.uint8)), "2007_000003.png: label 21: no class of VOC"),
    (wrong_mask(np.zeros((4, 3), np.uint8)), r"2007_000003.png: size \(4, 3\): the image has \(3, 4\)"),
    (lambda root: (root / "masks" / f"{name_of(0)}.png").unlink(), "1 masks are missing .2007_000000"),
    (lambda root: shutil.copy(root / "masks" / f"{name_of(0)}.png", root / "masks" / "x.png"), "masks of no image .x"),
    (lambda root: shutil.rmtree(root / "masks"), "no such folder"),
    (
        lambda root: (root / f"data/VOC2012/validation/image/{name_of(0)}.jpg").unlink(),
        "1448 images: the server wants all 1449",
    ),
]


@pytest.mark.parametrize(("change", "said"), MASKS)
def test_masks_that_the_server_would_refuse_are_refused_here(
    there: Path, change: Callable[[Path], None], said: str
) -> None:
    change(there)
    with pytest.raises(InputError, match=said):
        submit(there)
    assert not [*there.glob("*.gz")]


OPEN = encode_mask(np.full(SIZE, 255, np.uint8), VOC.palette)
GREY = encode_mask(MASK, [(label, label, label) for label in range(256)])
ARCHIVES: list[tuple[Callable[[dict[str, bytes]], dict[str, bytes]], str]] = [
    (
        lambda files: {name.replace("val", "test"): data for name, data in files.items()},
        "comp6_test_cls.*no mask of val",
    ),
    (lambda files: dict([*files.items()][1:]), "1 masks are missing"),
    (lambda files: {**files, f"{FOLDER}/2008_000001.png": OPEN}, "2008_000001.png: no mask of validation"),
    (lambda files: {**files, f"{FOLDER}/../{name_of(1)}.png": OPEN}, "no mask of validation"),
    (lambda files: {**files, f"{FOLDER}/{name_of(1)}.png": OPEN}, "label 255"),
    (lambda files: {**files, f"{FOLDER}/{name_of(1)}.png": GREY}, "palette of VOC"),
    (lambda files: {**files, f"{FOLDER}/{name_of(1)}.png": b"none"}, "not a PNG"),
]


@pytest.mark.parametrize(("change", "said"), ARCHIVES)
def test_a_wrong_archive_is_refused(
    prepared: Path, tmp_path: Path, change: Callable[[dict[str, bytes]], dict[str, bytes]], said: str
) -> None:
    path = packed(tmp_path / "a.tar.gz", change(members(prepared)))
    with pytest.raises(InputError, match=said):
        submit(prepared, f"archive={path}")


@pytest.mark.parametrize("content", [b"", b"no archive", b"\x1f\x8b\x08\x00 cut off"])
def test_what_is_no_archive(prepared: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tar.gz").write_bytes(content)
    with pytest.raises(InputError, match="archive|empty"):
        submit(prepared, f"archive={tmp_path / 'a.tar.gz'}")


def test_links_and_twins_are_refused(prepared: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo(f"{FOLDER}/{name_of(0)}.png")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(member)
    with pytest.raises(InputError, match="neither a file nor a folder"):
        submit(prepared, f"archive={path}")
    twice = encode_mask(MASK, VOC.palette)
    write_archive(path, FOLDER, [(name_of(0), twice), (name_of(0), twice)])
    with pytest.raises(InputError, match="is in it twice"):
        submit(prepared, f"archive={path}")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("dataset=voc masks=. split=train_aug", "split: train_aug: the server takes validation and test"),
        ("dataset=voc archive=a masks=b", "archive: a: is only checked"),
        ("dataset=voc archive=a output=b", "output: b: archive is only checked"),
        ("dataset=voc masks=. competition=comp7", "comp5, comp6"),
        ("dataset=voc", "run: null"),
        ("dataset=toy masks=.", "there is a server for VOC 2012 only"),
    ],
)
def test_wrong_words(prepared: Path, words: str, said: str) -> None:
    for split, dataset in (("train_aug", "VOC2012"), ("test", "Toy")):
        shutil.copytree(prepared / "masks", prepared / "data" / dataset / split / "image", dirs_exist_ok=True)
    with pytest.raises(InputError, match=said):
        importlib.import_module("dhr.submit").main.run(
            compose("submit", [f"paths.data={prepared / 'data'}", *words.split()])
        )
