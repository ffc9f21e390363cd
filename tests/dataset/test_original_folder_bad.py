"""Bad input beside images of the user's own: it works, or it is refused with place, value and cure."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from photographs import TAGS, Own

from dhr.core.errors import InputError


@pytest.fixture
def own(tmp_path: Path) -> Own:
    return Own(tmp_path)


def named(own: Own, *lines: str) -> None:
    own.write("a,cat", *lines)


def rename(own: Own, name: str) -> None:
    (own.photos / "b.png").rename(own.photos / name)
    named(own, f'"{name}",dog')


WORKS: dict[str, tuple[Callable[[Own], object], tuple[str, ...], dict[str, tuple[str, ...]]]] = {
    "two spellings": (lambda own: named(own, "b,Dog", "c,dog ", "d,dog"), (), {"b": ("dog",), "c": ("dog",)}),
    "byte order mark and line ends": (
        lambda own: own.tags.write_bytes(b"\xef\xbb\xbfimage,tags\r\na,cat\r\nb,dog\r\n"), (), {"b": ("dog",)},
    ),
    "semicolons": (lambda own: own.tags.write_text("a.png;cat,dog\nb.png;dog\n"), (), {"a": ("cat", "dog")}),
    "an image twice": (lambda own: named(own, "a.png,dog"), (), {"a": ("cat", "dog")}),
    "another ending": (lambda own: named(own, "b.jpg,dog"), (), {"b": ("dog",)}),
    "capitals": (lambda own: rename(own, "B.PNG"), (), {"B": ("dog",)}),
    "blanks and brackets": (lambda own: rename(own, "my cat (1).png"), (), {"my_cat__1_": ("dog",)}),
    "quotes": (lambda own: rename(own, "it's.png"), (), {"it_s": ("dog",)}),
    "letters": (lambda own: rename(own, "Käthe.png"), (), {"Kathe": ("dog",)}),
    "letters that Latin lacks": (lambda own: rename(own, "猫.png"), (), {"image": ("dog",)}),
    "an absolute path": (lambda own: named(own, "/home/me/b.png,dog"), (), {"b": ("dog",)}),
    "a path upwards": (lambda own: named(own, "../../photos/b.png,dog"), (), {"b": ("dog",)}),
    "a name that no file can have": (lambda own: named(own, "b,dog", f"{'x' * 5000},dog"), (), {"b": ("dog",)}),
    "names of no image": (lambda own: named(own, "b,dog", "lost.png,dog"), (), {"b": ("dog",)}),
    "a kind that is not read": (
        lambda own: ((own.photos / "e.heic").touch(), named(own, "b,dog", "e.heic,dog")), (), {"b": ("dog",)},
    ),
    "images without tags": (lambda own: named(own, "b,dog", "c,"), (), {"b": ("dog",), "c": ()}),
    "a class for no image": (lambda own: named(own, "b,dog"), ("classes=[dog,cow,cat]",), {"b": ("dog",)}),
    "classes in other letters": (lambda own: named(own, "b,DOG"), ("classes=dog,cat",), {"b": ("dog",)}),
}  # fmt: skip


@pytest.mark.parametrize("case", WORKS)
def test_what_can_be_understood_works(own: Own, case: str) -> None:
    change, words, expected = WORKS[case]
    change(own)
    prepared = own.prepare("validation=0", *words)
    placed = own.placed()
    assert {image_id: placed[image_id] for image_id in expected} == expected
    assert set(own.root.iterdir()) == {own.photos, own.tags, own.root / "data"}
    said = {"names of no image": "lost.png): no image has", "images without tags": "no tags"}
    said |= {"a kind that is not read": "e.heic): no picture by their endings"}
    if case in said:
        assert any("left out: " in remark and said[case] in remark for remark in prepared.remarks)


def copied(own: Own) -> None:
    shutil.copy(own.photos / "a.png", own.photos / "a.jpg")


def unreadable(own: Own) -> None:
    (own.photos / "b.png").write_bytes((own.photos / "b.png").read_bytes()[:60])


REFUSED: dict[str, tuple[Callable[[Own], object], tuple[str, ...], str]] = {
    "an unknown class": (
        lambda own: None, ("classes=cat,dog",), r"tags\.csv: line 7: bird: not a class; allowed: cat, dog",
    ),
    "classes twice": (lambda own: None, ("classes=cat,cat",), "classes: cat,cat: 'cat' is no class of its own"),
    "no classes": (lambda own: None, ("classes=[]",), "classes: .*: '' is no class of its own"),
    "no tags": (lambda own: own.write("a,", "b,"), (), r"tags\.csv: no image has a tag; write the classes"),
    "one class": (lambda own: own.write("a,cat", "b,cat"), (), r"tags\.csv: cat: the only class .*`other`"),
    "background": (lambda own: own.write("a,background"), (), "background: is label 0 of every image"),
    "empty": (lambda own: own.tags.write_text(""), (), r"tags\.csv: unreadable tags \(0 bytes\)"),
    "no image is called so": (lambda own: own.write("x,cat", "y,dog"), (), r"tags\.csv: x: no image of .*photos is"),
    "two endings": (copied, ("tags=two.csv",), "tags: two.csv: no such file or folder"),
    "which of two": (lambda own: (copied(own), named(own, "b,dog")), (), r"tags\.csv: a: may be a\.jpg, a\.png; write"),
    "unreadable": (unreadable, (), r"b\.png: unreadable image .*\n.*all others are in place"),
    "no tag file": (lambda own: None, ("tags=null",), "tags: null: which classes .* use tags=<file>, or put"),
    "no folder": (lambda own: None, ("images=none",), "images: none: no such file or folder; use images=<path>"),
    "no images": (lambda own: shutil.rmtree(own.photos) or own.photos.mkdir(), (), "images: .*photos: no image in it"),
    "images null": (lambda own: None, ("images=null",), "images: null: where are the images"),
    "no name": (lambda own: None, ("name=null",), "name: null: what is the data set to be called"),
    "a known name": (lambda own: None, ("name=VOC",), "name: VOC: is taken; choose another name, for instance my_VOC"),
    "a known folder": (lambda own: None, ("name=voc2012",), "name: voc2012: is taken"),
    "a folder of the data": (lambda own: None, ("name=configs",), "name: configs: is taken"),
    "a word of Hydra": (lambda own: None, ("name=true",), "name: true: is taken"),
    "a number": (lambda own: None, ("name=2024",), "name: 2024: not the name of a data set; begin with a letter"),
    "no file name": (lambda own: None, ("name=../x",), r"name: \.\./x: .*letters, digits"),
    "a download": (lambda own: None, ("source=x",), "source: x: dataset=folder has no use for it; use images=<folder>"),
    "images of a download": (lambda own: None, ("dataset=voc", "tags=null"), "images: .*: dataset=voc has no use"),
    "a share of all": (lambda own: None, ("validation=1.0",), r"validation: 1\.0: neither a share .* from 0 to 0\.9"),
    "a list of nobody": (lambda own: None, ("validation=list.txt",), r"validation: list\.txt: neither"),
    "masks of nobody": (lambda own: own.masks("x"), ("masks={root}/masks",), "no mask is called as an image"),
    "masks of another size": (
        lambda own: own.masks(*TAGS, size=(5, 5)), ("masks={root}/masks",), r"a\.png: size \(5, 5\): its image",
    ),
    "masks of other labels": (
        lambda own: own.masks(*TAGS, label=4), ("masks={root}/masks",), "label 4: mine has classes 0 to 3 and 255",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_understood_is_refused(own: Own, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    change, words, message = REFUSED[case]
    monkeypatch.chdir(own.root)
    change(own)
    before = {path for path in own.root.rglob("*") if "data" not in path.parts}
    with pytest.raises(InputError, match=message):
        own.prepare(*(word.replace("{root}", str(own.root)) for word in words))
    assert {path for path in own.root.rglob("*") if "data" not in path.parts} == before
    if "all others" not in message and not case.startswith("masks of"):
        assert not (own.root / "data").exists()


def test_what_was_mended_is_all_that_is_done_again(own: Own) -> None:
    whole = (own.photos / "b.png").read_bytes()
    unreadable(own)
    with pytest.raises(InputError, match=r"b\.png"):
        own.prepare()
    (own.photos / "b.png").write_bytes(whole)
    own.prepare()
    assert own.placed().keys() == TAGS.keys()


def test_other_classes_do_not_mix_with_those_that_are_there(own: Own) -> None:
    own.prepare()
    named(own, "b,cow", "c,dog")
    with pytest.raises(
        InputError, match=r"mine\.json: its classes are bird, cat, dog, not cat, cow, dog; use classes=bir"
    ):
        own.prepare()
