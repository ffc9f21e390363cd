"""Annotations in the style of VOC: which objects they name, or why they are refused."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from xml.etree.ElementTree import ParseError
from xml.sax.saxutils import escape

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from dhr.disk.atomic import write_atomically
from dhr.disk.reading import AGAIN, BadFileError, read_file

XML_BYTES = 1 << 20  # of an annotation; those of VOC have a few thousand
XML_DEPTH = 32  # of nested elements; those of VOC have five
NAMED = 25  # classes named in one message
ROOT = "annotation"
PLACE = ["object", "name"]  # below the root
OBJECTS = frozenset({"object", "objects"})
# What other tools call an object or what belongs to one: where these stand and no object does, it is not understood.
LIKE = OBJECTS | {"obj", "bndbox", "bbox", "box", "polygon", "label", "labels", "class", "category", "tag", "tags"}
FORM = "write every object as <annotation><object><name>class</name></object></annotation>"


def parse_tags(data: bytes, path: Path, names: Sequence[str]) -> list[str]:
    """Class names of the objects in a VOC style annotation, in class order, each once.

    Only `<object><name>` right below the root counts: parts of an object have names too. Namespaces make no difference.

    Raises:
        BadFileError: not XML, entities, elements nested deeper than XML_DEPTH, objects that are written in another way
            or stand elsewhere, or an object of an unknown class.
    """
    objects = _Objects()
    try:
        parser = DefusedXMLParser(target=objects)
        parser.feed(data)
        parser.close()
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        problem = f"unreadable XML ({error})"
        raise BadFileError.of(path, "tags: unreadable", problem=problem, cure=AGAIN) from None
    # No object found is not the same as no object there: an image without tags is left out of training.
    strange = objects.strange or (None if objects.names else objects.alike)
    if strange is None and not objects.names and objects.root.lower() != ROOT:
        strange = objects.root
    if strange is not None:
        problem = f"<{strange[:80]}> is not where an annotation of VOC has its objects"
        raise BadFileError.of(path, "tags: other form", problem=problem, cure=FORM)
    tags = {name.strip() for name in objects.names}
    unknown = sorted(tags - set(names))
    if unknown:
        problem = f"object name {unknown[0][:80]!r} is not a class"
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        cure = f"allowed are {', '.join(names[:NAMED])}{more}"
        raise BadFileError.of(path, "tags: unknown class", problem=problem, cure=cure)
    return [name for name in names if name in tags]


class _Objects:
    """Collects the first name of every object while the parser reads; makes no tree, however deep the elements are.

    Attributes:
        names: of the objects.
        root: name of the outermost element.
        strange: path of the first object that is spelt differently or stands elsewhere.
        alike: path of the first element outside of objects whose name is in LIKE.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.root = ""
        self.strange: str | None = None
        self.alike: str | None = None
        self._path: list[str] = []
        self._named = self._open = False

    def start(self, tag: str, attributes: object) -> None:
        self._path.append(tag.rpartition("}")[2])
        if len(self._path) > XML_DEPTH:
            raise ValueError(f"elements nested deeper than {XML_DEPTH}")
        self.root = self.root or self._path[0]
        self._open = self._path[1:] == PLACE and not self._named
        if self._path[1:] == PLACE[:1]:
            self.names.append("")
            self._named = False
        elif self._path[1:2] != PLACE[:1]:
            name, path = self._path[-1].lower(), "/".join(self._path)
            if name in OBJECTS:
                self.strange = self.strange or path
            if name in LIKE:
                self.alike = self.alike or path
        self._named |= self._open

    def data(self, text: str) -> None:
        if self._open:
            self.names[-1] += text

    def end(self, tag: str) -> None:
        self._path.pop()
        self._open = False

    def close(self) -> None:
        """The parser asks for it."""


def tags_text(image_id: str, size: tuple[int, int], names: Iterable[str]) -> bytes:
    """Tags in the VOC annotation style; `size` is (height, width)."""
    lines = [
        f"  <filename>{escape(image_id)}.jpg</filename>",
        f"  <size><width>{size[1]}</width><height>{size[0]}</height><depth>3</depth></size>",
        *(f"  <object><name>{escape(name)}</name></object>" for name in names),
    ]
    return "\n".join(["<annotation>", *lines, "</annotation>"]).encode()


def read_tags(path: Path, names: Sequence[str]) -> list[str]:
    """Class names of the objects in a VOC style annotation, in class order, each once.

    Raises:
        BadFileError: missing, unreadable or oversized XML, or an object of an unknown class.
    """
    cure = "run python -m dhr.prepare for the data set"
    data = read_file(path, "tags", absent="these tags are missing", cure=cure, limit=XML_BYTES)
    return parse_tags(data, path, names)


def write_tags(path: Path, size: tuple[int, int], names: Sequence[str]) -> None:
    """Writes tags in the VOC annotation style, atomically; `size` is (height, width)."""
    write_atomically(path, tags_text(path.stem, size, names))
