"""Tags in what annotation tools export: JSON of several kinds, CVAT's XML, the text files of YOLO."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree.ElementTree import ParseError

import yaml  # type: ignore[import-untyped]
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from dhr.core.errors import InputError
from dhr.disk.atomic import JSON_BYTES
from dhr.disk.json_stream import array_elements
from dhr.disk.reading import AGAIN, read_file
from dhr.disk.stated import shown
from dhr.disk.tag_tables import Stated, decoded

CVAT = re.compile(rb"(\xef\xbb\xbf)?\s*<(\?xml|annotations)")
CVAT_SHAPES = ("tag", "box", "polygon", "polyline", "points", "ellipse", "cuboid", "mask", "skeleton")
DEPTH = 32  # of nested elements; CVAT's have four
IMAGE_KEYS = ("image", "file", "filename", "file_name", "path", "name", "id")
TAG_KEYS = ("tags", "labels", "classes", "tag", "label", "class", "categories", "category")
UPLOADED = re.compile(r"[0-9a-f]{8}-(?=.)")  # what Label Studio puts before the name of an uploaded file
CHOSEN = re.compile(r"choices|taxonomy|(rectangle|polygon|brush|ellipse|keypoint|vector|bitmask)?labels")
JSON_CURE = (
    'write {"cat.jpg": ["cat"], ...} or [{"image": "cat.jpg", "tags": ["cat"]}, ...], or export from Label Studio as '
    "JSON, or as COCO"
)
LIST_BYTES = 1 << 20  # of a list of classes, or of the labels of one image
YOLO_LISTS = ("classes.txt", "obj.names", "data.yaml", "data.yml")


def read_json_tags(path: Path) -> Iterator[Stated]:
    """Tags in a JSON file: of COCO's form, of Label Studio's, {image: tags}, or a list of images with their tags.

    Raises:
        InputError: not JSON, or of another form.
    """
    first = next(array_elements(path), None)
    if first is not None and first.key and isinstance(first.value, dict):
        yield from _coco(path)
        return
    data = read_file(path, "tags", absent="no such file", cure=JSON_CURE, limit=JSON_BYTES)
    try:
        value = json.loads(data, object_pairs_hook=_joined)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not readable as JSON ({error}); {JSON_CURE}") from None
    if isinstance(value, dict):
        for image, tags in value.items():
            yield Stated(f"{path}: {image[:80]}", image, _texts(tags, f"{path}: {image[:80]}"))
    else:
        for number, item in enumerate(value if isinstance(value, list) else []):
            yield _item(item, f"{path}: element {number}")


def _joined(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """An object in which a key that stands twice has the elements of both lists."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        both = isinstance(value, list) and isinstance(found.get(key), list)
        found[key] = [*found[key], *value] if both else value
    return found


def _item(item: Any, place: str) -> Stated:
    """One image of a list."""
    if not isinstance(item, dict):
        raise InputError(f"{place}: {shown(item)}: not an image with tags; {JSON_CURE}")
    if isinstance(item.get("data"), dict):
        results = [each for made in item.get("annotations") or [] for each in (made or {}).get("result") or []]
        return Stated(place, _uploaded(_named(item["data"], place)), tuple(_chosen(results)))
    image = _named(item, place)
    if "annotation_id" in item or "annotator" in item:  # Label Studio's short form
        return Stated(place, _uploaded(image), tuple(_short(item)))
    own = next((item[key] for key in TAG_KEYS if _is_texts(item.get(key))), None)
    if own is None:
        raise InputError(f"{place}: {shown(item)}: no tags in it; {JSON_CURE}")
    return Stated(place, image, _texts(own, place))


def _named(item: Mapping[str, Any], place: str) -> str:
    name = next((item[key] for key in IMAGE_KEYS if isinstance(item.get(key), str)), None)
    name = name or next((value for value in item.values() if isinstance(value, str) and "/" in value), None)
    if name is None:
        raise InputError(f"{place}: {shown(item)}: names no image; {JSON_CURE}")
    return name


def _is_texts(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(each, str) for each in value))


def _texts(value: Any, place: str) -> tuple[str, ...]:
    """Tags as a list, or as one text with `;`, `|` or a comma between them."""
    if not _is_texts(value):
        raise InputError(f"{place}: {shown(value)}: not a list of tags; {JSON_CURE}")
    return tuple(re.split(r"[;|,]", value) if isinstance(value, str) else value)


def _chosen(results: list[Any]) -> Iterator[str]:
    """Classes in Label Studio's results: choices for the image, and labels of its regions."""
    for result in results:
        value = result.get("value") if isinstance(result, dict) else None
        for key, names in value.items() if isinstance(value, dict) else ():
            if CHOSEN.fullmatch(key) and isinstance(names, list):
                yield from (name[-1] if isinstance(name, list) and name else name for name in names if name)


def _short(item: Mapping[str, Any]) -> Iterator[str]:
    """Classes in an element of Label Studio's JSON-MIN."""
    for key, value in item.items():
        if isinstance(value, dict):
            yield from _chosen([{"value": value}])
        elif isinstance(value, list):
            yield from _chosen([{"value": each} for each in value])
        elif key == "choice" and isinstance(value, str):
            yield value


def _uploaded(name: str) -> str:
    """The name that a file had before it was given to Label Studio."""
    url = urlsplit(name)
    path = parse_qs(url.query).get("d", [unquote(url.path)])[0]
    folder, _, base = path.rpartition("/")
    return UPLOADED.sub("", base, count=1) if "upload" in folder else path


def _coco(path: Path) -> Iterator[Stated]:
    """Categories of the annotations of every image, in a file of COCO's form; memory for names and numbers alone."""
    names: dict[int, str] = {}
    images: dict[int, tuple[str, str]] = {}
    found: dict[int, dict[int, str]] = {}  # image -> category -> place of the first annotation
    for element in array_elements(path):
        if element.key == "categories":
            names[element.whole("id")] = _text_of(element.value, "name", element.place)
        elif element.key == "images":
            images[element.whole("id")] = (element.place, _text_of(element.value, "file_name", element.place))
        elif element.key == "annotations":
            found.setdefault(element.whole("image_id"), {}).setdefault(element.whole("category_id"), element.place)
    for image, tags in found.items():
        strange = next((number for number in tags if number not in names), None)
        if image not in images or strange is not None:
            wrong = f"category_id {strange}" if image in images else f"image_id {image}"
            raise InputError(f"{tags.get(strange or 0) or path}: {wrong}: not listed in this file; {AGAIN}")
    for image, (place, file) in images.items():
        yield Stated(place, file, tuple(names[category] for category in found.get(image, {})))


def _text_of(value: Any, key: str, place: str) -> str:
    text = value.get(key) if isinstance(value, dict) else None
    if not isinstance(text, str):
        raise InputError(f"{place}: {key} is {shown(text)}: a text is due; {AGAIN}")
    return text


def read_cvat(data: bytes, path: Path) -> Iterator[Stated]:
    """Tags and labels of shapes in CVAT's export "CVAT for images 1.1".

    Raises:
        InputError: not XML, or no image in it.
    """
    found = _CvatImages(path)
    try:
        parser = DefusedXMLParser(target=found)
        parser.feed(data)
        parser.close()
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise InputError(f"{path}: unreadable XML ({error}); export it again as CVAT for images 1.1") from None
    if not found.images:
        raise InputError(f"{path}: no <annotations><image>; export it as CVAT for images 1.1")
    yield from (Stated(f"{path}: image {name[:80]}", name, tuple(tags)) for name, tags in found.images)


class _CvatImages:
    """Collects images and the labels in them while the parser reads; makes no tree."""

    def __init__(self, path: Path) -> None:
        self.images: list[tuple[str, list[str]]] = []
        self._path: list[str] = []

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        self._path.append(tag)
        if len(self._path) > DEPTH:
            raise ValueError(f"elements nested deeper than {DEPTH}")
        if self._path == ["annotations", "image"]:
            self.images.append((attributes.get("name", ""), []))
        elif self._path[:2] == ["annotations", "image"] and len(self._path) == 3 and tag in CVAT_SHAPES:
            self.images[-1][1].append(attributes.get("label", ""))

    def end(self, tag: str) -> None:
        self._path.pop()

    def close(self) -> None:
        """The parser asks for it."""


def is_yolo(path: Path) -> bool:
    """Whether a path is a list of YOLO's classes, or a folder that holds one."""
    return path.name in YOLO_LISTS if path.is_file() else any((path / name).is_file() for name in YOLO_LISTS)


def read_yolo(path: Path) -> Iterator[Stated]:
    """Classes in YOLO's label files, which lie anywhere in the folder of their list of classes.

    Raises:
        InputError: no list of classes, or a line whose first word is no number of a class.
    """
    listed = path if path.is_file() else next(path / name for name in YOLO_LISTS if (path / name).is_file())
    names = _yolo_names(listed)
    texts = sorted(file for file in listed.parent.rglob("*.txt") if file.name not in YOLO_LISTS)
    for file in [file for file in texts if file.parent.name == "labels"] or texts:
        image = file.relative_to(listed.parent).with_suffix("").as_posix()
        yield Stated(str(file), image, tuple(_yolo_tags(file, names)))


def _yolo_tags(file: Path, names: Mapping[int, str]) -> Iterator[str]:
    """Classes in the labels of one image; an empty file has none."""
    if file.stat().st_size == 0:
        return
    text = decoded(read_file(file, "labels", absent="no such file", cure=AGAIN, limit=LIST_BYTES), file)
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield _yolo_class(line, f"{file}: line {number}", names)


def _yolo_class(line: str, place: str, names: Mapping[int, str]) -> str:
    first = line.split()[0]
    number = int(first) if first.isdecimal() and len(first) < 9 else -1
    if number not in names:
        raise InputError(f"{place}: {first[:80]}: not the number of a class; there are {len(names)}, counted from 0")
    return names[number]


def _yolo_names(listed: Path) -> dict[int, str]:
    """Number of every class with its name: one a line, or `names` of a YAML file."""
    text = decoded(read_file(listed, "classes", absent="no such file", cure=AGAIN, limit=LIST_BYTES), listed)
    if listed.suffix not in (".yaml", ".yml"):
        return dict(enumerate(line.strip() for line in text.splitlines() if line.strip()))
    try:
        names = yaml.safe_load(text)["names"]
        pairs = enumerate(names) if isinstance(names, list) else names.items()
        return {int(number): str(name) for number, name in pairs}
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise InputError(f"{listed}: no names of classes ({type(error).__name__}); write names: [cat, dog]") from None
