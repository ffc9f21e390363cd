"""Tags from the files of people and of annotation tools: what is read, and what is refused with its place."""

import json
import logging
from pathlib import Path

import pytest

from dhr.core.errors import InputError
from dhr.disk.tag_files import ImageNames, read_tag_file, tags_of_images

BOTH = {"a.jpg": ("cat", "dog"), "b.jpg": ("cat",)}
ONE = {"a.jpg": ("cat",)}
COCO = {
    "info": {}, "licenses": [{"id": 1}], "images": [{"id": 4, "file_name": "a.jpg"}, {"id": 5, "file_name": "b.jpg"}],
    "annotations": [{"id": 1, "image_id": 4, "category_id": 7}, {"id": 2, "image_id": 4, "category_id": 7}],
    "categories": [{"id": 7, "name": "cat"}],
}  # fmt: skip
LIST = [{"image": "a.jpg", "tags": ["cat", "dog"]}, {"file": "b.jpg", "label": "cat"}]
RESULTS = [
    {"type": "choices", "value": {"choices": ["cat"]}},
    {"type": "rectanglelabels", "value": {"x": 1, "rectanglelabels": ["dog"]}},
    {"type": "taxonomy", "value": {"taxonomy": [["animal", "bird"]]}},
    {"type": "textarea", "value": {"text": ["nice"]}},
]
STUDIO = [{"id": 3, "data": {"image": "/data/upload/1/3f2a1b4c-a.jpg"}, "annotations": [{"result": RESULTS}]}]
SHORT = [{"id": 3, "image": "/data/local-files/?d=x%2Fa.jpg", "choice": "cat", "label": [{"brushlabels": ["dog"]}]}]
CVAT = (
    '<?xml version="1.0"?><annotations><meta><task><labels><label><name>x</name></label></labels></task></meta>'
    '<image name="a.jpg"><tag label="cat"><attribute name="q">1</attribute></tag><box label="dog"/></image>'
    '<image name="b.jpg"><polygon label="cat"/></image></annotations>'
)
READ: dict[str, tuple[str, str | bytes, dict[str, tuple[str, ...]]]] = {
    "heads": ("t.csv", "image,tags\na.jpg,cat;dog\nb.jpg,cat\n", BOTH),
    "no heads": ("t.csv", "a.jpg,cat;dog\nb.jpg,cat\n", BOTH),
    "bars": ("t.csv", "a.jpg,cat|dog\nb.jpg,cat\n", BOTH),
    "blanks": ("t.csv", "a.jpg,cat dog\nb.jpg,cat\n", BOTH),
    "blanks in names": ("t.csv", "a.jpg,traffic light;cat\n", {"a.jpg": ("traffic light", "cat")}),
    "columns": ("t.csv", "a.jpg,cat,dog\nb.jpg,cat\n", BOTH),
    "a row a tag": ("t.csv", "a.jpg,cat\na.jpg,dog\nb.jpg,cat\n", BOTH),
    "the same row twice": ("t.csv", "a.jpg,cat\na.jpg,cat\n", ONE),
    "marks": ("t.csv", "filename, cat, dog\na.jpg, 1, 1\nb.jpg, 1, 0\n", BOTH),
    "heads of a detector": ("t.csv", "id,filename,width,class\n1,a.jpg,9,cat\n2,a.jpg,9,dog\n3,b.jpg,9,cat\n", BOTH),
    "heads in another order": ("t.csv", "label,picture\ncat;dog,a.jpg\ncat,b.jpg\n", BOTH),
    "semicolons": ("t.csv", "image;tags\na.jpg;cat,dog\nb.jpg;cat\n", BOTH),
    "tabs": ("t.tsv", "a.jpg\tcat;dog\nb.jpg\tcat\n", BOTH),
    "text": ("t.txt", "a.jpg\tcat;dog\nb.jpg\tcat\n", BOTH),
    "byte order mark, line ends, quotes": ("t.csv", '\ufeffimage;tags\r\n"a.jpg";"cat,dog"\r\n"b.jpg";cat\r\n', BOTH),
    "16 bits": ("t.csv", "a.jpg\tcat;dog\nb.jpg\tcat\n".encode("utf-16"), BOTH),
    "blank lines and cells": ("t.csv", "\na.jpg, cat ; dog ;\n\nb.jpg,cat\n,\n", BOTH),
    "quotes in a name": ("t.csv", '"a ""1"".jpg",cat\n', {'a "1".jpg': ("cat",)}),
    "a comma in a name": ("t.csv", '"a, b.jpg",cat\n', {"a, b.jpg": ("cat",)}),
    "letters": ("t.csv", "Küche.jpg,Stühle;椅子\n", {"Küche.jpg": ("Stühle", "椅子")}),
    "letters taken apart": ("t.csv", "Ku\u0308che.jpg,Stuhl\n", {"Küche.jpg": ("Stuhl",)}),
    "no tag": ("t.csv", "image,tags\na.jpg,cat\nb.jpg,\n", {**ONE, "b.jpg": ()}),
    "no column": ("t.csv", "a.jpg\n", {"a.jpg": ()}),
    "two spellings": ("t.csv", "a.jpg,Cat;dog\nb.jpg,cat \nc.jpg,cat\n", {**BOTH, "c.jpg": ("cat",)}),
    "an object": ("t.json", json.dumps({"a.jpg": ["cat", "dog"], "b.jpg": "cat"}), BOTH),
    "a key twice": ("t.json", '{"a.jpg": ["cat"], "a.jpg": ["dog"], "b.jpg": ["cat"]}', BOTH),
    "a list": ("t.json", json.dumps(LIST), BOTH),
    "COCO": ("t.json", json.dumps(COCO), {**ONE, "b.jpg": ()}),
    "Label Studio": ("t.json", json.dumps(STUDIO), {"a.jpg": ("cat", "dog", "bird")}),
    "Label Studio, short": ("t.json", json.dumps([{**SHORT[0], "annotation_id": 1}]), {"x/a.jpg": ("cat", "dog")}),
    "CVAT": ("t.xml", CVAT, BOTH),
    "CVAT of another ending": ("t.txt", CVAT, BOTH),
}  # fmt: skip


@pytest.mark.parametrize("case", READ)
def test_tags_are_read(tmp_path: Path, case: str) -> None:
    name, content, expected = READ[case]
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert read_tag_file(path) == expected


BOMB = '<!DOCTYPE a [<!ENTITY x "y">]><annotations><image name="&x;"/></annotations>'
REFUSED: dict[str, tuple[str, str | bytes, str]] = {
    "empty": ("t.csv", "", r"t\.csv: unreadable tags \(0 bytes\)"),
    "heads alone": ("t.csv", "image,tags\n", r"t\.csv: names no image; expected is a table"),
    "blank": ("t.csv", "\n\n", "names no image"),
    "no name": ("t.csv", "a.jpg,cat\n,dog\n", r"t\.csv: line 2: no name of an image"),
    "background": ("t.csv", "a.jpg,Background\n", "line 1: Background: is label 0 of every image and no tag; leave it"),
    "control characters": ("t.csv", "a.jpg,c\x07t\n", r"line 1: 'c\\x07t': not the name of a class"),
    "long": ("t.csv", f"a.jpg,{'x' * 201}\n", "not the name of a class; use at most 200"),
    "another code": ("t.csv", "Küche.jpg,cat\n".encode("latin-1"), r"t\.csv: byte 1: not UTF-8; save it as UTF-8"),
    "a cell without an end": ("t.csv", 'a.jpg,"' + "x" * 200_000, r"t\.csv: line \d: field larger"),
    "another ending": ("t.png", "a.jpg,cat\n", r"t\.png: \.png: not the ending of a tag file"),
    "torn JSON": ("t.json", '{"a.jpg": ["cat"', r"t\.json: not readable as JSON \(.*\); write"),
    "JSON of numbers": ("t.json", "[1]", r"t\.json: element 0: 1: not an image with tags; write"),
    "JSON of objects": ("t.json", '{"a.jpg": {"cat": 1}}', r"t\.json: a\.jpg: .*not a list of tags"),
    "JSON without tags": ("t.json", '[{"image": "a.jpg"}]', "element 0: .*no tags in it"),
    "JSON without images": ("t.json", '[{"tags": ["cat"]}]', "element 0: .*names no image"),
    "COCO without its category": ("t.json", json.dumps({**COCO, "categories": []}), "category_id 7: not listed"),
    "COCO without its image": ("t.json", json.dumps({**COCO, "images": []}), "image_id 4: not listed|names no image"),
    "an entity": ("t.xml", BOMB, "unreadable XML"),
    "another XML": ("t.xml", "<annotation/>", r"t\.xml: no <annotations><image>; export it as CVAT"),
    "deep XML": ("t.xml", "<a>" * 100, "nested deeper"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_is_named(tmp_path: Path, case: str) -> None:
    name, content, message = REFUSED[case]
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message):
        read_tag_file(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.csv: no such file or folder; expected is a table"):
        read_tag_file(tmp_path / "none.csv")


def test_known_classes_count_in_their_spelling(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a.jpg,traffic light\nb.jpg,CAT\n")
    assert read_tag_file(tmp_path / "t.csv", classes=("Traffic Light", "cat")) == {
        "a.jpg": ("Traffic Light",),
        "b.jpg": ("cat",),
    }
    with pytest.raises(
        InputError, match=r"t\.csv: line 2: CAT: not a class; did you mean CAR\? allowed: traffic light"
    ):
        read_tag_file(tmp_path / "t.csv", classes=("traffic light", "CAR"))


def test_spellings_that_are_joined_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "t.csv").write_text("a.jpg,Cat\nb.jpg,cat\nc.jpg,cat\n")
    with caplog.at_level(logging.INFO):
        read_tag_file(tmp_path / "t.csv")
    assert [message.partition(": ")[2] for message in caplog.messages] == ["Cat (1 times): taken as cat (2 times)"]


def test_a_folder_per_class(tmp_path: Path) -> None:
    for name in ("cat/1.jpg", "cat/deep/2.PNG", "dog/1.avif", "dog/notes.txt", "dog/.hidden.jpg", "loose.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    expected = {"cat/1.jpg": ("cat",), "cat/deep/2.PNG": ("cat",), "dog/1.avif": ("dog",)}
    assert read_tag_file(tmp_path) == expected
    (tmp_path / "loose.jpg").unlink()
    (tmp_path / "box" / "photos").mkdir(parents=True)
    for name in ("cat", "dog"):
        (tmp_path / name).rename(tmp_path / "box" / "photos" / name)
    assert read_tag_file(tmp_path) == {f"box/photos/{name}": tags for name, tags in expected.items()}


@pytest.mark.parametrize(
    ("listed", "text"), [("classes.txt", "cat\ndog\n"), ("data.yaml", "names: {0: cat, 1: dog}\n")]
)
def test_labels_of_yolo(tmp_path: Path, listed: str, text: str) -> None:
    (tmp_path / "train" / "labels").mkdir(parents=True)
    (tmp_path / listed).write_text(text)
    (tmp_path / "README.txt").write_text("made by a tool\n")
    (tmp_path / "train" / "labels" / "a.txt").write_text("0 .5 .5 .1 .1\n\n1 .5 .5 .1 .1\n0 .1 .1 .1 .1\n")
    (tmp_path / "train" / "labels" / "b.txt").write_text("")
    expected = {"train/labels/a": ("cat", "dog"), "train/labels/b": ()}
    assert read_tag_file(tmp_path) == read_tag_file(tmp_path / listed) == expected
    (tmp_path / "train" / "labels" / "c.txt").write_text("2 .5 .5 .1 .1\n")
    with pytest.raises(InputError, match=r"c\.txt: line 1: 2: not the number of a class; there are 2, counted from 0"):
        read_tag_file(tmp_path)


IMAGES = ("cats/1.jpg", "2.JPG", "cats/3.png", "dogs/3.png", "Küche (1).jpeg", "b.jpg", "b.png")


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("cats/1.jpg", "cats/1.jpg"),
        ("./cats/1.jpg", "cats/1.jpg"),
        ("CATS/1.JPG", "cats/1.jpg"),
        ("cats/1", "cats/1.jpg"),
        ("cats/1.png", "cats/1.jpg"),
        ("1.jpg", "cats/1.jpg"),
        ("/home/me/pictures/cats/1.jpg", "cats/1.jpg"),
        ("../../etc/cats/1.jpg", "cats/1.jpg"),
        ("C:\\pictures\\2.jpg", "2.JPG"),
        ("train/labels/2", "2.JPG"),
        ("Ku\u0308che (1)", "Küche (1).jpeg"),
        ("dogs/3.png", "dogs/3.png"),
        ("b.png", "b.png"),
        ("../../etc/passwd", None),
        ("4.jpg", None),
        ("/", None),
    ],
)
def test_names_mean_images_of_the_folder(name: str, image: str | None) -> None:
    assert ImageNames(IMAGES).find(name) == image


@pytest.mark.parametrize(("name", "several"), [("3.png", "cats/3.png, dogs/3.png"), ("b", r"b\.jpg, b\.png")])
def test_a_name_that_means_several_images_is_refused(name: str, several: str) -> None:
    with pytest.raises(InputError, match=f"^tags: {name}: may be {several}; write the whole path"):
        ImageNames(IMAGES, "tags").find(name)


def test_tags_of_all_names_of_an_image_are_joined() -> None:
    stated = {"b.jpg": ("cat",), "x/b.jpg": ("dog",), "none.jpg": ("dog",), "2": ()}
    assert tags_of_images(stated, IMAGES) == ({"b.jpg": ("cat", "dog"), "2.JPG": ()}, ["none.jpg"])
