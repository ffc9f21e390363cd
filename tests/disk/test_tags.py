"""Annotations that other tools write: read where their meaning is clear, refused where objects would go unseen."""

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dhr.core.errors import InputError
from dhr.dataset.check import TrainingFiles
from dhr.dataset.classes import load_classes
from dhr.dataset.split import Split
from dhr.disk.annotation import parse_tags, write_tags
from dhr.disk.layout import DataLayout
from dhr.disk.reading import BadFileError

TABLE = load_classes("toy")
NAMES = TABLE.names[1:]
PATH = Path("xml/a.xml")
THING = f"<object><name>{NAMES[0]}</name></object>"
PREFIXED = THING.replace("<", "<v:").replace("<v:/", "</v:")
VOC = "<filename>a.jpg</filename><source><annotation>VOC</annotation></source><size><width>3</width></size>"
UNDERSTOOD = {
    "plain": (f"<annotation>{VOC}{THING}</annotation>", 1),
    "namespace": (f'<annotation xmlns="urn:voc">{VOC}{THING}</annotation>', 1),
    "prefix": (
        f'<v:annotation xmlns:v="urn:voc">{THING.replace("<", "<v:").replace("<v:/", "</v:")}</v:annotation>',
        1,
    ),
    "other prefixes": (f'<annotation xmlns:v="urn:voc">{THING}<v:owner/></annotation>', 1),
    "empty": ("<annotation/>", 0),
    "no object": (f"<annotation>{VOC}<owner><name>me</name></owner></annotation>", 0),
}
UNSEEN = {
    "capital": f"<annotation>{VOC}{THING.replace('object', 'Object')}</annotation>",
    "capitals": f"<ANNOTATION>{THING.upper()}</ANNOTATION>",
    "one level more": f"<annotation>{VOC}<objects>{THING}</objects></annotation>",
    "list of annotations": f"<annotations><annotation>{THING}</annotation></annotations>",
    "one of two": f"<annotation>{THING}{THING.replace('object', 'Object')}</annotation>",
    "one of two, deeper": f"<annotation>{THING}<more>{THING}</more></annotation>",
    "one level less": THING,
    "boxes": "<annotation><image><box label='cat'/></image></annotation>",
    "bounding boxes": "<annotation><item><bndbox/></item></annotation>",
    "namespace and capital": f'<annotation xmlns="urn:voc">{THING.replace("object", "Object")}</annotation>',
    "something else": "<html><body>404</body></html>",
}


@pytest.mark.parametrize("case", UNDERSTOOD)
def test_understood(case: str) -> None:
    text, count = UNDERSTOOD[case]
    assert parse_tags(text.encode(), PATH, NAMES) == list(NAMES[:count])


@pytest.mark.parametrize("case", UNSEEN)
def test_objects_that_would_go_unseen_are_refused(case: str) -> None:
    with pytest.raises(BadFileError, match=r"xml/a\.xml: <.*> is not where .*<object><name>") as caught:
        parse_tags(UNSEEN[case].encode(), PATH, NAMES)
    assert caught.value.kind == "tags: other form"


def made(root: Path, tags: list[tuple[str, ...]]) -> TrainingFiles:
    """A split with one image per entry of `tags`."""
    layout = DataLayout(root, "Toy")
    for number, names in enumerate(tags):
        image = layout.split("train") / "image" / f"{number}.jpg"
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(image)
        write_tags(layout.tags("train", str(number)), (4, 5), names)
    return TrainingFiles(Split.open(layout, "train", TABLE), None, None)


@pytest.mark.parametrize(("tags", "said"), [([(NAMES[0],), (), ()], "2 of 3 images have no tag"), ([(NAMES[0],)], "")])
def test_images_without_tags_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, tags: list[tuple[str, ...]], said: str
) -> None:
    with caplog.at_level(logging.INFO):
        assert made(tmp_path, tags).tagged().tolist() == [0]
    assert said in caplog.text and bool(said) == ("left out" in caplog.text)


def test_nothing_to_learn_from(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no image has a tag"):
        made(tmp_path, [(), ()]).tagged()
