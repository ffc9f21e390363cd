"""The audit as a command: exit codes, masks and features of other methods, and its page."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from audited import ID, SIDE, TABLE, cut, findings, image, make, mask, tags
from PIL import Image
from report_pages import check_self_contained, read
from tiny import Tiny, environment

from dhr.config.compose import compose
from dhr.core.errors import InputError
from dhr.dataset.classes import load_classes
from dhr.disk.annotation import write_tags
from dhr.disk.atomic import read_json
from dhr.disk.feature_store import FeatureStore
from dhr.disk.mask import write_mask


@pytest.fixture
def there(tmp_path: Path) -> Tiny:
    """A whole data set, to be broken."""
    return make(tmp_path)


# Masks and features of other methods


def test_wss_masks(there: Tiny) -> None:
    folder = there.root / "data" / "WSS" / "Toy" / "Simulated" / "train"
    assert not [each for each in findings(there, "wss=simulated", broken=False) if "WSS" in each["kind"]]
    (folder / f"{ID}.png").rename(folder / "x.png")
    cut(folder / "train_00000.png")
    write_mask(folder / "train_00002.png", np.ones((5, 5), np.uint8), TABLE.palette)
    write_mask(folder / "train_00003.png", np.full((SIDE, SIDE), 77, np.uint8), TABLE.palette)
    kinds = {each["kind"] for each in findings(there, "wss=simulated", broken=True)}
    assert {f"WSS mask: {kind}" for kind in ("missing", "extra", "unreadable", "size", "label")} <= kinds
    assert findings(there, broken=False), "not looked at unless it is named"
    with pytest.raises(InputError, match=r"wss: simulated: .*; leave split=validation out"):
        compose("audit", ["wss=simulated", "split=validation"])


def test_uss_features(there: Tiny) -> None:
    store = FeatureStore(there.features, "make them")
    for number in range(4):
        store.write(f"train_{number:05d}", torch.zeros(3, 8, 8))
    assert not [each for each in findings(there, "uss=colour", broken=False) if "USS" in each["kind"]]
    store.path(ID).rename(store.path("x"))
    store.write("train_00000", torch.zeros(4, 8, 8))
    store.write("train_00002", torch.zeros(3, 8, 2))
    store.path("train_00003").write_bytes(b"")
    found = {each["kind"]: each["file"] for each in findings(there, "uss=colour", broken=True)}
    kinds = ("missing", "extra", "channels", "shape", "unreadable")
    assert [found[f"USS features: {kind}"][-8:-3] for kind in kinds] == ["00001", "our/x", "00000", "00002", "00003"]


# As a command


def run(there: Tiny, *words: str) -> subprocess.CompletedProcess[str]:
    """A torch that must not be imported lies in the folder where the command runs."""
    (there.root / "torch.py").write_text("raise SystemExit('torch was imported')\n")
    command = there.command("audit", *words)
    return subprocess.run(command, cwd=there.root, env=environment(), capture_output=True, text=True, check=False)


def test_exit_codes(there: Tiny) -> None:
    clean = run(there, "wss=simulated")
    assert (clean.returncode, clean.stderr) == (0, ""), clean.stderr
    assert "published" in clean.stdout and "remark: number of images: 2 (first: " in clean.stdout
    strict = run(there, "strict=true")
    assert (strict.returncode, "0 broken, 4 remarks" in strict.stderr) == (2, True)
    cut(image(there))
    broken = run(there)
    assert broken.returncode == 2
    assert f"{image(there)}: unreadable image" in broken.stderr and "fetch or make this file again" in broken.stderr
    assert "Traceback" not in broken.stderr


def test_many_images_are_shared_out(there: Tiny) -> None:
    for number in range(4, 70):
        for path in (image(there), mask(there), tags(there)):
            shutil.copy(path, path.with_stem(f"train_{number:05d}"))
    cut(there.layout.image("train", "train_00060"))
    broken = run(there)
    assert broken.returncode == 2, broken.stderr
    assert "torch" not in broken.stderr and "train_00060.jpg: unreadable image" in broken.stderr
    statistics = read_json(there.root / "outputs" / "toy" / "audit" / "audit.json")["splits"][0]["classes"]
    assert sum(each["pixels"] for each in statistics) == 70 * SIDE * SIDE


def test_nothing_to_look_at(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="split=train: no folder .*dhr.prepare"):
        Tiny(tmp_path).call("audit")
    assert list(tmp_path.iterdir()) == []


# The page


def page_file(there: Tiny, dataset: str = "toy") -> Path:
    return there.root / "outputs" / dataset / "audit" / "audit.html"


def test_the_page_shows_splits_findings_classes_and_examples(there: Tiny) -> None:
    cut(image(there))
    findings(there, broken=True)
    page = read(page_file(there))
    for said in ("dhr audit", "published", "image: unreadable", "Cure: ", "fetch or make this file again", ID,
                 "images, by tags", "share of pixels, %", "are ignored", "In no image: ",
                 "ember_disc", "tags: ", "truth"):  # fmt: skip
        assert said in page.text, said
    pictures = [attributes for tag, attributes in page.elements if tag == "img"]
    assert len(pictures) == 2 * (3 + 3), "images beside their masks, without the one that is broken"
    check_self_contained(page_file(there).read_text())


def test_the_same_files_give_the_same_page(there: Tiny) -> None:
    findings(there, broken=False)
    first = page_file(there).read_bytes()
    findings(there, broken=False)
    assert page_file(there).read_bytes() == first
    assert sorted(path.name for path in page_file(there).parent.iterdir()) == ["audit.html", "audit.json"]


def test_hostile_names_stay_text(there: Tiny) -> None:
    name = "<script>alert(1)<\u2044script>&\"'><img src=x onerror=alert(2)>"
    shutil.copy(mask(there), mask(there).with_stem(name))
    tags(there).write_text("<annotation><object><name>&lt;img src=x&gt;</name></object></annotation>")
    (mask(there).parent / b"\xff\n.txt".decode("utf-8", "surrogateescape")).write_text("not UTF-8")
    found = findings(there, broken=True)
    assert any(each["file"].endswith(r"\xff\n.txt") for each in found)
    check_self_contained(page_file(there).read_text())
    text = read(page_file(there)).text
    assert name in text and "object name '<img src=x>' is not a class" in text


def test_a_hundred_and_seventy_one_classes(tmp_path: Path) -> None:
    there, table = Tiny(tmp_path), load_classes("stuff")
    folder = tmp_path / "data" / "COCO-Stuff" / "train"
    labels = np.arange(60 * 60, dtype=np.uint32).reshape(60, 60) % 100
    (folder / "image").mkdir(parents=True)
    for number in range(14):
        Image.new("RGB", (60, 60)).save(folder / "image" / f"{number}.jpg")
        write_mask(folder / "mask" / f"{number}.png", labels.astype(np.uint8), table.palette)
        write_tags(folder / "xml" / f"{number}.xml", (60, 60), list(table.names[:100]))
    there.call("audit", "dataset=stuff")
    page = read(page_file(there, "stuff"))
    assert "The 20 most frequent classes" in page.text and "The 20 rarest classes" in page.text
    assert table.names[170] in page.text.partition("In no image: ")[2]
    assert sum(tag == "img" for tag, _ in page.elements) == 2 * 12
    check_self_contained(page_file(there, "stuff").read_text())
