"""JSON files of any length, read one element at a time: the annotations of COCO 2014 have 448 MB.

Whoever needs an element again keeps its bytes' place and reads only those.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from dhr.core.errors import InputError
from dhr.disk.stated import shown

CHUNK = 1 << 19  # bytes read at once: little memory, and hardly an element lies across two chunks
LONGEST = 1 << 26  # bytes of one element; the longest of the known files has less than 1 MB
CUT = 16  # bytes: so near the end of what was read, "-1" may be -1.5e-07 and "\\u00" no mistake

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
BLANKS = re.compile(r"[ \t\n\r]*")
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
            raise InputError(f"{self.place}: {name} is {shown(value)}: a whole number is due; fetch this file again")
        return int(value)


def array_elements(file: Path, chunk: int = CHUNK) -> Iterator[Element]:
    """Elements of all arrays at the top level of a JSON file, in the order of the file; other values are left out.

    The memory needed does not depend on the length of the file, only on its longest element.

    Args:
        file: an object or an array, in UTF-8.
        chunk: bytes read at once.

    Raises:
        InputError: missing, not JSON, cut off, or with an element of more than 64 MB; the message has the position.
    """
    try:
        with file.open("rb") as stream:
            yield from _Scanner(file, stream, chunk).elements()
    except OSError as error:
        raise InputError(f"{file}: not readable ({error.strerror}); unpack the original download completely") from None


class _Scanner:
    """A window over the file, moved forwards: one character of `text` is one byte."""

    def __init__(self, file: Path, stream: BinaryIO, chunk: int) -> None:
        self.file, self.stream, self.chunk = file, stream, chunk
        self.base = len(BYTE_ORDER_MARK) if stream.read(len(BYTE_ORDER_MARK)) == BYTE_ORDER_MARK else 0
        stream.seek(self.base)
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
        more = not self.opened_and_closed("}")
        while more:
            key = self.value("").value
            if not isinstance(key, str) or self.peek() != ":":
                raise self.broken("a key and a colon are due")
            self.at += 1
            if self.peek() == "[":
                yield from self.array(key)
            else:
                self.value(key)
            more = self.another("}")

    def array(self, key: str) -> Iterator[Element]:
        more = not self.opened_and_closed("]")
        while more:
            yield self.value(key)
            more = self.another("]")

    def opened_and_closed(self, close: str) -> bool:
        """Steps over the opening bracket, and over the closing one if nothing is in between."""
        self.at += 1
        closed = self.peek() == close
        self.at += closed
        return closed

    def another(self, close: str) -> bool:
        """Steps over a comma, behind which something follows, or over the closing bracket."""
        following = self.peek()
        if following not in (",", close):
            raise self.broken(f"a comma or {close} is due" if following else "the file ends here")
        self.at += 1
        return following == ","

    def peek(self) -> str:
        """The next character that is not blank, empty at the end of the file."""
        while True:
            blanks = BLANKS.match(self.text, self.at)
            self.at = blanks.end() if blanks else self.at
            if self.at < len(self.text) or self.ended:
                return self.text[self.at : self.at + 1]
            self.read_on()

    def value(self, key: str) -> Element:
        """The value that starts at the next character."""
        self.peek()
        value, end = self.decoded()
        start, text = self.at, self.text[self.at : end]
        if not text.isascii():
            try:
                value = json.loads(text.encode("latin-1").decode())
            except UnicodeDecodeError as error:
                raise self.broken("not UTF-8", error.start) from None
        self.at = end
        return Element(self.file, key, value, self.base + start, self.base + end)

    def decoded(self) -> tuple[Any, int]:
        """A value, whose strings are bytes still, and its end in `text`."""
        while True:
            try:
                value, end = DECODER.raw_decode(self.text, self.at)
                if end + CUT < len(self.text) or self.ended:  # else it may be the first half of a number
                    return value, end
            except json.JSONDecodeError as error:
                if self.ended or not self.may_be_cut(error):
                    raise self.broken(error.msg, error.pos - self.at) from None
            except (ValueError, RecursionError) as error:
                raise self.broken(f"{type(error).__name__}, {error}") from None
            self.read_on()

    def may_be_cut(self, error: json.JSONDecodeError) -> bool:
        """Whether the rest of the file may show that nothing is wrong."""
        return error.msg.startswith("Unterminated string") or len(self.text[error.pos :].strip()) <= CUT

    def read_on(self) -> None:
        """Drops what was used and reads on, a long element in steps that double."""
        rest = self.text[self.at :]
        if len(rest) > LONGEST:
            raise self.broken(f"an element of more than {LONGEST} bytes")
        self.base, self.at, self.text = self.base + self.at, 0, ""
        data = self.stream.read(max(self.chunk, len(rest)))
        self.text, self.ended = rest + data.decode("latin-1"), not data

    def broken(self, what: str, ahead: int = 0) -> InputError:
        position = self.base + self.at + ahead
        return InputError(f"{self.file}: byte {position}: not readable as JSON: {what}; fetch this file again")
