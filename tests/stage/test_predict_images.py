"""Images of one's own: whatever lies in a folder is predicted or named, and nothing but the output is written."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from own_pictures import NOISE, deep, frames, picture, saved, turned
from report_pages import read
from safetensors import safe_open
from tiny import SIDE, Tiny
from untrained import untrained_run

from dhr.config.compose import compose
from dhr.core.errors import InputError
from dhr.dataset.classes import load_classes
from dhr.dataset.toy.toy_set import write_toy
from dhr.disk.atomic import read_json
from dhr.disk.layout import RunFolder
from dhr.disk.mask import read_mask

TABLE = load_classes("toy")
CLASS = TABLE.names[1]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained_run(tmp_path_factory.mktemp("runs") / "run").root


@pytest.fixture
def there(tmp_path: Path) -> Tiny:
    """Two images, one of them in a folder."""
    for name in ("a.png", "pets/b.png"):
        picture(tmp_path / "mine" / name)
    return Tiny(tmp_path)


def predict(there: Tiny, run: Path, *words: str) -> Path:
    """The masks of <root>/mine into <root>/out; no data set is there."""
    out = there.root / "out"
    images = [] if any(word.startswith("images=") for word in words) else [f"images={there.root}/mine"]
    there.call("predict", f"run={run}", "crf=none", "scales=[1.0]", "flip=false", f"output={out}", *images, *words)
    return out


def masks_in(out: Path) -> dict[str, tuple[int, ...]]:
    return {
        path.relative_to(out / "masks").as_posix(): read_mask(path).shape for path in (out / "masks").rglob("*.png")
    }


GOOD: dict[str, bytes] = {
    "jpeg.jpg": saved("JPEG"), "CAPITALS.JPEG": saved("JPEG"), "Mixed.Png": saved("PNG"), "bmp.bmp": saved("BMP"),
    "tiff.tif": saved("TIFF"), "webp.webp": saved("WEBP"), "gif.gif": saved("GIF", "P"), "ppm.ppm": saved("PPM"),
    "cmyk.jpg": saved("JPEG", "CMYK"), "cmyk.tiff": saved("TIFF", "CMYK"), "grey.png": saved("PNG", "L"),
    "grey and alpha.png": saved("PNG", "LA"), "alpha.png": saved("PNG", "RGBA"), "bits.png": saved("PNG", "1"),
    "palette.png": saved("PNG", "P"), "palette with a hole.png": saved("PNG", "P", transparency=0),
    "16 bits.png": deep(), "floats.tiff": saved("TIFF", "F"), "ints.tiff": saved("TIFF", "I"),
    "video colours.tiff": saved("TIFF", "YCbCr"), "animated.gif": frames("GIF"), "animated.webp": frames("WEBP"),
    "pages.tiff": frames("TIFF"), "animated.png": frames("PNG"), "jpeg called.png": saved("JPEG"),
    "one pixel.png": saved("PNG", size=(1, 1)), "a line.png": saved("PNG", size=(500, 1)),
    "with spaces 'and' \"quotes\".jpg": saved("JPEG"), "été 猫.jpg": saved("JPEG"), "a=b,[c]{d} $e.jpg": saved("JPEG"),
    "100% #1?.jpg": saved("JPEG"), "no.dots.here.jpg": saved("JPEG"), "<b>bold.jpg": saved("JPEG"),
    "x" * 200 + ".jpg": saved("JPEG"),
}  # fmt: skip


def test_every_good_file_gets_a_mask_of_its_size(there: Tiny, run: Path) -> None:
    shutil.rmtree(there.root / "mine")
    for number, (name, data) in enumerate(sorted(GOOD.items())):  # each in a folder: some differ by their ending alone
        path = there.root / "mine" / str(number) / name
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
    out = predict(there, run, "overlay=true")
    sizes = {"one pixel.png": (1, 1), "a line.png": (1, 500)}
    expected = {
        f"{number}/{os.path.splitext(name)[0]}.png": sizes.get(name, (20, 30))
        for number, name in enumerate(sorted(GOOD))
    }
    assert masks_in(out) == expected
    assert len(list((out / "overlays").rglob("*.jpg"))) == len(GOOD)


def test_a_turn_is_made(there: Tiny, run: Path) -> None:
    (there.root / "mine" / "turned.jpg").write_bytes(turned())
    assert masks_in(predict(there, run))["turned.png"] == (30, 20)


def bomb(path: Path) -> None:
    data = bytearray(saved("BMP"))
    data[18:26] = (30_000).to_bytes(4, "little") * 2
    path.write_bytes(data)


def link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda path: path.write_bytes(b""), "0 bytes"),
    "half": (lambda path: path.write_bytes(saved("JPEG")[:300]), "unreadable image"),
    "a page": (lambda path: path.write_text("<html>"), "of no format that is read here"),
    "noise": (lambda path: path.write_bytes(NOISE.tobytes()), "of no format that is read here"),
    "postscript": (lambda path: path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), "of no format"),
    "flipped": (lambda path: path.write_bytes(saved("PNG")[:60] + b"\0\1" + saved("PNG")[62:]), "checksum"),
    "too large": (bomb, "allowed are"),
    "a pipe": (os.mkfifo, "not a file"),
    "a dangling link": (lambda path: path.symlink_to("nowhere"), "this image is missing"),
    "a link to itself": (link_to_itself, "unreadable image"),
}  # fmt: skip


def test_broken_images_are_named_and_all_others_done(there: Tiny, run: Path) -> None:
    for name, (make, _) in BROKEN.items():
        make(there.root / "mine" / f"{name}.jpg")
    (there.root / "mine" / os.fsdecode(b"caf\xe9.jpg")).write_bytes(saved("JPEG"))
    with pytest.raises(InputError, match=rf"images: {len(BROKEN) + 1} cannot be read: .*the masks of 2 others are in"):
        predict(there, run, "overlay=true", "soft=true")
    out = there.root / "out"
    assert set(masks_in(out)) == {"a.png", "pets/b.png"}
    words = "".join(read(out / "gallery.html").words)
    for name, (_, said) in BROKEN.items():
        assert re.search(rf"{name}\.jpg: .*{re.escape(said)}", words), name
    assert r"caf\xe9.jpg: not UTF-8" in words


def test_what_is_left_out_is_said(there: Tiny, run: Path, caplog: pytest.LogCaptureFixture) -> None:
    mine = there.root / "mine"
    for name in ("notes.txt", ".hidden.png", ".thumbnails/c.png", "film.mpg"):
        (mine / name).parent.mkdir(exist_ok=True)
        (mine / name).write_bytes(saved("PNG"))
    (mine / "pets" / "loop").symlink_to("..")
    (mine / "linked").symlink_to(picture(there.root / "elsewhere" / "c.png").parent)
    with caplog.at_level("INFO"):
        out = predict(there, run)
    assert set(masks_in(out)) == {"a.png", "pets/b.png", "linked/c.png"}
    assert "2 left out, no ending of an image: film.mpg, notes.txt" in caplog.text
    assert "1 left out, a link back to a folder above it: pets/loop/" in caplog.text


def test_two_images_of_one_id_are_named(there: Tiny, run: Path) -> None:
    picture(there.root / "mine" / "pets" / "b.JPG")
    with pytest.raises(InputError, match=r"pets/b\.png: b\.JPG beside it has the same id"):
        predict(there, run)
    assert not (there.root / "out").exists()


def test_a_second_call_makes_only_what_is_new(there: Tiny, run: Path) -> None:
    out = predict(there, run, "overlay=true", "soft=true")
    before = there.times()
    picture(there.root / "mine" / "c.png", 3)
    picture(there.root / "mine" / "a.png", 5)
    predict(there, run, "overlay=true", "soft=true")
    products = [path for path in out.rglob("*") if path.is_file() and path.parent != out]
    changed = {path.relative_to(out).as_posix() for path in products if before.get(path) != path.stat().st_mtime_ns}
    kinds = {"masks": ".png", "overlays": ".jpg", "soft": ".safetensors"}
    assert changed == {f"{folder}/{image_id}{ending}" for image_id in "ac" for folder, ending in kinds.items()}


def test_images_of_another_folder_or_precision_do_not_take_their_place(there: Tiny, run: Path) -> None:
    predict(there, run)
    picture(there.root / "other" / "mine" / "a.png")
    with pytest.raises(InputError, match=r"other settings \(images in .*overwrite=true .* output=<folder> leaves them"):
        predict(there, run, f"images={there.root}/other/mine")
    with pytest.raises(InputError, match=r"other settings \(precision"):
        predict(there, run, "precision=bf16")


def test_an_output_among_the_images_is_never_read(there: Tiny, run: Path) -> None:
    inside = f"output={there.root}/mine/made"
    for _ in range(2):
        predict(there, run, inside, "overlay=true")
    predict(there, run, f"output={there.root}/mine/pets/made", "overlay=true")
    for output in ("mine/made", "mine/pets/made"):
        assert set(masks_in(there.root / output)) == {"a.png", "pets/b.png"}


@pytest.mark.parametrize("output", ["mine", "mine/pets", ".", "mine/../mine"])
def test_nothing_is_written_beside_the_images(there: Tiny, run: Path, output: str) -> None:
    before = there.times()
    with pytest.raises(InputError, match=r"output: .*: holds images that are to be read"):
        predict(there, run, f"output={there.root}/{output}")
    assert there.times() == before


def test_only_the_output_is_written(there: Tiny, run: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (*run.rglob("*"), *(there.root / "mine").rglob("*"))}
    predict(there, run, "overlay=true", "soft=true")
    after = {path: path.stat().st_mtime_ns for path in (*run.rglob("*"), *(there.root / "mine").rglob("*"))}
    assert before == after and {path.name for path in there.root.iterdir()} == {"mine", "out"}


def test_without_output_it_lies_in_the_run(there: Tiny, run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    there.call("predict", f"run={tmp_path / 'run'}", "crf=none", "scales=[0.5]", f"images={there.root}/mine")
    assert set(masks_in(tmp_path / "run" / "images" / "mine")) == {"a.png", "pets/b.png"}


def test_the_images_of_a_split_get_its_masks_and_scores(there: Tiny, run: Path, tmp_path: Path) -> None:
    write_toy(there.root / "data", splits={"train": 1, "validation": 3}, image_size=SIDE)
    split, words = there.layout.split("validation"), ("crf=pydensecrf", "crf.workers=0")
    shutil.copytree(run, tmp_path / "run")
    out = predict(there, tmp_path / "run", f"images={split}/image", *words)
    there.call("predict", f"run={tmp_path / 'run'}", "scales=[1.0]", "flip=false", *words)
    masks = {path.name: path.read_bytes() for path in RunFolder(tmp_path / "run").masks("validation").glob("*.png")}
    assert len(masks) == 3 and masks == {path.name: path.read_bytes() for path in (out / "masks").glob("*.png")}
    there.call("evaluate", "dataset=toy", f"masks={out}/masks", "strict=true")
    assert read_json(out / "masks.validation.scores.json")["images"] == 3


# Tags


def classes_in(out: Path, name: str) -> set[str]:
    return {TABLE.names[label] for label in np.unique(read_mask(out / "masks" / f"{name}.png"))}


def test_tags_restrict_the_classes_of_an_image(there: Tiny, run: Path) -> None:
    free = predict(there, run)
    anything, (one, other) = classes_in(free, "a"), TABLE.names[1:3]
    (there.root / "tags.csv").write_text(f"image,tag\na.png,{one}\npets/b.png,{other}\n")
    out = predict(there, run, f"tags={there.root}/tags.csv")
    assert classes_in(out, "a") <= {TABLE.names[0], one} and classes_in(out, "pets/b") <= {TABLE.names[0], other}
    assert not anything <= {TABLE.names[0], one}, "else this shows nothing"


def test_only_the_image_whose_tags_changed_is_made_anew(there: Tiny, run: Path) -> None:
    tags = there.root / "tags.json"
    tags.write_text(json.dumps({"a.png": [TABLE.names[1]], "pets/b.png": [TABLE.names[2]]}))
    out = predict(there, run, f"tags={tags}")
    before = there.times()
    tags.write_text(json.dumps({"a.png": [TABLE.names[1]], "pets/b.png": [TABLE.names[3]]}))
    predict(there, run, f"tags={tags}")
    after = there.times()
    assert [before[out / "masks" / name] == after[out / "masks" / name] for name in ("a.png", "pets/b.png")] == [1, 0]


@pytest.mark.parametrize(("text", "said"), [
    (f"image,tag\na.png,{CLASS}x\n", rf"tags\.csv.*{CLASS}x: not a class; did you mean {CLASS}"),
    (f"image,tag\nother.png,{CLASS}\n", r"tags\.csv: other\.png: none of these is an image in"),
])  # fmt: skip
def test_wrong_tags(there: Tiny, run: Path, text: str, said: str) -> None:
    (there.root / "tags.csv").write_text(text)
    with pytest.raises(InputError, match=said):
        predict(there, run, f"tags={there.root}/tags.csv")


# Probabilities and the page


def test_probabilities_say_their_classes(there: Tiny, run: Path) -> None:
    out = predict(there, run, "soft=true")
    with safe_open(out / "soft" / "pets" / "b.safetensors", "np") as file:
        values, names = file.get_tensor("probabilities"), json.loads(file.metadata()["classes"])
    assert names == list(TABLE.names) and values.shape == (len(names), *NOISE.shape[:2]) and values.dtype == np.float16
    np.testing.assert_allclose(values.astype(np.float32).sum(0), 1, atol=5e-3)
    assert (values.argmax(0) == read_mask(out / "masks" / "pets" / "b.png")).mean() > 0.95


def test_probabilities_that_are_asked_for_later(there: Tiny, run: Path) -> None:
    out = predict(there, run)
    before = there.times()
    predict(there, run, "soft=true")
    assert len(list((out / "soft").rglob("*.safetensors"))) == 2
    assert all(there.times()[path] == time for path, time in before.items() if path.suffix == ".png")


def test_links_on_the_page_lead_to_files(there: Tiny, run: Path) -> None:
    (there.root / "mine" / "100% #1?<b>.jpg").write_bytes(saved("JPEG"))
    out = predict(there, run, "overlay=true", "soft=true")
    page = read(out / "gallery.html")
    links = [attributes["href"] or "" for tag, attributes in page.elements if tag == "a"]
    assert len(links) == 3 * 5 and all((out / unquote(link)).is_file() for link in links)
    assert not [tag for tag, attributes in page.elements if tag in ("script", "link") or attributes.get("onclick")]
    sources = [attributes["src"] or "" for tag, attributes in page.elements if tag == "img"]
    assert len(sources) == 3 and all(source.startswith("data:image/jpeg;base64,") for source in sources)


WRONG: list[tuple[tuple[str, ...], str]] = [
    (("images={mine}", "split=validation"), r"images: .*: split=validation is given too; leave one"),
    (("images={mine}/none",), r"images: .*/none: no such file or folder"),
    (("tags={mine}/a.png",), r"tags: .*: is for images of your own; add images="),
    (("overlay=true",), r"overlay: true: is for images of your own"),
    (("soft=true", "split=validation"), r"soft: true: is for images of your own"),
    (("output=x",), r"output: x: is for images of your own"),
    (("images={mine}", "tags={mine}/none"), r"tags: .*/none: no such file"),
]


@pytest.mark.parametrize(("words", "said"), WRONG)
def test_wrong_commands(there: Tiny, run: Path, words: tuple[str, ...], said: str) -> None:
    with pytest.raises(InputError, match=said):
        compose("predict", [f"run={run}", *(word.replace("{mine}", f"{there.root}/mine") for word in words)])
