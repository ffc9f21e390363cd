"""JSON files of any length, read one element at a time: the annotations of COCO 2014 have 448 MB.

Code that needs an element again keeps its position in the file and reads only those bytes.

ijson 3.6 (yajl2_c) into a table of sqlite3 was measured in place of this scanner: 100,000 made annotations, 63 MB, took
2.6 s of processor time instead of 0.7 s at the same peak of memory (47 and 45 MB), and 27 s where only its Python form
is there. It keeps the path of every open level, so brackets nested a hundred thousandfold, a file of 100 kB, ended in a
MemoryError at 3 GB. And it does not know at which byte an element starts, which the messages here name.
"""

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from dhr.core.errors import InputError
from dhr.disk.stated import shown

CHUNK = 1 << 19  # bytes read at once: little memory, and hardly an element lies across two chunks
LONGEST = 1 << 26  # characters of one element; the longest of the known files has less than 1 MB
CUT = 16  # characters: so near the end of what was read, "-1" may be -1.5e-07 and "\\u00" no mistake

BLANKS = re.compile(r"[ \t\n\r]*")
CURE = "fetch this file again"
DECODER = json.JSONDecoder()


class Element(NamedTuple):
    """One element of an array at the top level of a JSON file.

    Attributes:
        file: the JSON file.
        key: key of the array in the object that the file holds; empty where the file is an array itself.
        value: decoded element.
        start: position of its first byte in the file.
        end: position after its last byte.
    """

    file: Path
    key: str
    value: Any
    start: int
    end: int

    @property
    def place(self) -> str:
        """File and position, for messages."""
        return f"{self.file}: byte {self.start}"

    def whole(self, name: str) -> int:
        """The member `name` of an element that is an object, a number from 0 to 2^62.

        Raises:
            InputError: there is no such member, or it is something else.
        """
        value = self.value.get(name) if isinstance(self.value, dict) else None
        if not isinstance(value, int) or not 0 <= value <= 1 << 62:
            raise InputError(f"{self.place}: {name} is {shown(value)}: a whole number is due; {CURE}")
        return int(value)


def array_elements(file: Path, chunk: int = CHUNK) -> Iterator[Element]:
    """Elements of all arrays at the top level of a JSON file, in the order of the file; other values are left out.

    The memory needed does not depend on the length of the file, only on its longest element.

    Args:
        file: an object or an array, in UTF-8.
        chunk: bytes read at once.

    Raises:
        InputError: missing, not JSON, not UTF-8, cut off, or with an element of more than 2^26 characters; the message
            has the position.
    """
    try:
        with file.open("rb") as stream:
            yield from _Scanner(file, stream, chunk).elements()
    except OSError as error:
        raise InputError(f"{file}: not readable ({error.strerror}); unpack the original download completely") from None


class _Scanner:
    """A window over the text of a file, moved forwards: the next character is `text[at]`, at `byte` of the file."""

    def __init__(self, file: Path, stream: BinaryIO, chunk: int) -> None:
        self.file, self.stream, self.chunk = file, stream, chunk
        self.decoder = codecs.getincrementaldecoder("utf-8")()
        self.byte = len(codecs.BOM_UTF8) if stream.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8 else 0
        stream.seek(self.byte)
        self.text, self.at, self.ended = "", 0, False

    def elements(self) -> Iterator[Element]:
        first = self.peek()
        if first == "[":
            yield from self.array("")
        elif first == "{":
            yield from self.members()
        else:
            raise self.broken("an object or an array is due")
        if self.peek():
            raise self.broken("something stands after the end")

    def members(self) -> Iterator[Element]:
        for _ in self.inside("}"):
            key = self.value("").value
            if not isinstance(key, str) or self.peek() != ":":
                raise self.broken("a key and a colon are due")
            self.step(self.at + 1)
            if self.peek() == "[":
                yield from self.array(key)
            else:
                self.value(key)

    def array(self, key: str) -> Iterator[Element]:
        for _ in self.inside("]"):
            yield self.value(key)

    def inside(self, close: str) -> Iterator[None]:
        """Stops before each item of the object or array that opens here, and steps over the bracket that closes it."""
        self.step(self.at + 1)
        following = self.peek()
        if following == close:
            self.step(self.at + 1)
        while following != close:
            yield
            following = self.peek()
            if following not in (",", close):
                raise self.broken(f"a comma or {close} is due" if following else "the file ends here")
            self.step(self.at + 1)

    def value(self, key: str) -> Element:
        """The value that starts at the next character that is not blank."""
        self.peek()
        start, (value, end) = self.byte, self.decoded()
        self.step(end)
        return Element(self.file, key, value, start, self.byte)

    def peek(self) -> str:
        """Steps over blanks; the next character, empty at the end of the file."""
        while True:
            blanks = BLANKS.match(self.text, self.at)
            self.step(blanks.end() if blanks else self.at)
            if self.at < len(self.text) or self.ended:
                return self.text[self.at : self.at + 1]
            self.read_on()

    def decoded(self) -> tuple[Any, int]:
        """The value that starts here, and its end in `text`."""
        while True:
            try:
                value, end = DECODER.raw_decode(self.text, self.at)
                if end + CUT < len(self.text) or self.ended:  # else it may be the first half of a number
                    return value, end
            except json.JSONDecodeError as error:
                if self.ended or not self.may_be_cut(error):
                    raise self.broken(error.msg, self.byte_of(error.pos)) from None
            except (ValueError, RecursionError) as error:
                raise self.broken(f"{type(error).__name__}, {error}") from None
            self.read_on()

    def may_be_cut(self, error: json.JSONDecodeError) -> bool:
        """Whether the rest of the file may show that nothing is wrong."""
        return error.msg.startswith("Unterminated string") or len(self.text[error.pos :].strip()) <= CUT

    def step(self, end: int) -> None:
        """Makes `text[end]` the next character."""
        self.byte, self.at = self.byte_of(end), end

    def byte_of(self, position: int) -> int:
        """Where in the file `text[position]` stands, which is not before the next character."""
        return self.byte + len(self.text[self.at : position].encode())

    def read_on(self) -> None:
        """Drops the text that was used and reads more of the file; for a long element, each time twice as much."""
        rest = self.text[self.at :]
        if len(rest) > LONGEST:
            raise self.broken(f"an element of more than {LONGEST} bytes")
        data = self.stream.read(max(self.chunk, len(rest)))
        try:
            self.text, self.at, self.ended = rest + self.decoder.decode(data, final=not data), 0, not data
        except UnicodeDecodeError as error:
            raise self.broken("not UTF-8", self.stream.tell() - len(error.object) + error.start) from None

    def broken(self, what: str, byte: int | None = None) -> InputError:
        byte = self.byte if byte is None else byte
        return InputError(f"{self.file}: byte {byte}: not readable as JSON: {what}; {CURE}")
