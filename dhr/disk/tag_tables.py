"""Tables of tags: CSV and its relatives, as people and programs write them."""

import csv
import io
import re
from collections.abc import Iterator, Sequence, Set
from pathlib import Path
from typing import NamedTuple

from dhr.core.errors import InputError
from dhr.disk.reading import read_file

LIST_BYTES = 1 << 26  # of a list of names
DELIMITERS = ",;\t"
PICTURE = re.compile(r"\.(jpe?g|png|webp|bmp|tiff?|gif)$", re.IGNORECASE)
# Heads of columns, in the words of common tools; compared without case, blanks, _ and -.
IMAGE_HEADS = (
    "image",
    "images",
    "file",
    "filename",
    "filepath",
    "path",
    "imagename",
    "imagepath",
    "imageid",
    "img",
    "id",
    "name",
    "picture",
    "photo",
)
TAG_HEADS = ("tags", "tag", "labels", "label", "class", "classes", "classname", "category", "categories", "labelname")
BOMS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
MARKS = {"0": False, "1": True, "false": False, "true": True, "0.0": False, "1.0": True}


class Stated(NamedTuple):
    """What stands at one place of a tag file.

    Attributes:
        place: file and line or element, for messages.
        image: name of an image.
        tags: names of classes.
    """

    place: str
    image: str
    tags: tuple[str, ...]


Row = tuple[str, list[str]]  # place and cells


def read_table(data: bytes, path: Path, known: Sequence[str] = ()) -> Iterator[Stated]:
    """Rows of a table with a comma, semicolon or tab between cells, with or without a row of heads.

    The first column, or the one headed as in IMAGE_HEADS, names the image. The tags stand in the columns headed as in
    TAG_HEADS, or else in all others: one to a cell, or several with `;`, `|`, a comma or, in a single column without
    these, blanks between them. A cell that is one of the `known` classes is not split. Columns of 0 and 1 below heads
    are one class each. An image may have several rows.

    Raises:
        InputError: not UTF-8, or no such table.
    """
    text = decoded(data, path)
    rows = [*_rows(text, _delimiter(text), path)]
    heads = _heads(rows)
    body = rows[1:] if heads else rows
    plain = [_plain(head) for head in heads]
    at = next((plain.index(word) for word in IMAGE_HEADS if word in plain), 0)
    columns = [place for place in range(max((len(cells) for _, cells in body), default=0)) if place != at]
    named = [place for place in columns if place < len(plain) and plain[place] in TAG_HEADS]
    yield from _marked(body, heads, at) or _listed(body, at, named or columns, {name.casefold() for name in known})


def decoded(data: bytes, path: Path) -> str:
    """Text of a file in UTF-8, or in UTF-16 where it begins with its mark.

    Raises:
        InputError: neither.
    """
    bom, coding = next(((bom, coding) for bom, coding in BOMS if data.startswith(bom)), (b"", "utf-8"))
    try:
        return data[len(bom) :].decode(coding)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start + len(bom)}: not {coding.upper()}; save it as UTF-8") from None


def lines_of(path: Path) -> list[str]:
    """The lines of a text file that say something, without blanks around them.

    Raises:
        InputError: missing, empty or unreadable.
    """
    text = decoded(read_file(path, "list", absent="no such file", cure="write a name a line", limit=LIST_BYTES), path)
    return [line.strip() for line in text.splitlines() if line.strip()]


def _delimiter(text: str) -> str:
    """The first sign outside quotes in the first row that can stand between cells."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    return next((sign for sign in re.sub(r'"[^"]*"', "", first) if sign in DELIMITERS), ",")


def _rows(text: str, delimiter: str, path: Path) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield f"{path}: line {reader.line_num}", [cell.strip() for cell in cells]
    except csv.Error as error:
        raise InputError(f"{path}: line {reader.line_num}: {error}; write a table of images and tags") from None


def _plain(head: str) -> str:
    return re.sub(r"[\s_-]", "", head).casefold()


def _heads(rows: Sequence[Row]) -> list[str]:
    """The first row where it heads columns: by its words, or since it alone names no picture; else nothing."""
    first = rows[0][1] if rows else []
    if any(PICTURE.search(cell) for cell in first):
        return []
    words = any(_plain(cell) in IMAGE_HEADS for cell in first)
    others = [cells[0] for _, cells in rows[1:]]
    return first if words or (others and all(PICTURE.search(cell) for cell in others)) else []


def _marked(body: Sequence[Row], heads: Sequence[str], at: int) -> list[Stated]:
    """The rows of a table with a column of 0 and 1 for every class; nothing where it is none."""
    columns = [place for place in range(len(heads)) if place != at]
    marks = [[cells[place].casefold() for place in columns if place < len(cells)] for _, cells in body]
    if not columns or not all(len(row) == len(columns) and {*row} <= MARKS.keys() for row in marks):
        return []
    return [
        Stated(place, cells[at], tuple(heads[column] for column, mark in zip(columns, row, strict=True) if MARKS[mark]))
        for (place, cells), row in zip(body, marks, strict=True)
    ]


def _listed(body: Sequence[Row], at: int, columns: Sequence[int], known: Set[str]) -> Iterator[Stated]:
    """The rows of a table whose cells name classes."""
    rows = [(place, cells, [cells[column] for column in columns if column < len(cells)]) for place, cells in body]
    signs = len(columns) > 1 or any(re.search(r"[;|,]", cell) for _, _, tags in rows for cell in tags)
    between = r"[;|,]" if signs else r"\s+"
    for place, cells, tags in rows:
        split = [[cell] if cell.casefold() in known else re.split(between, cell) for cell in tags]
        yield Stated(place, cells[at] if at < len(cells) else "", tuple(tag for cell in split for tag in cell))
