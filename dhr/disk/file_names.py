"""Names of files: which can be ids, how any is shown, and their endings, in whatever case they are written."""

import hashlib
import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import product
from pathlib import Path

SAFE_ID = re.compile(r"\w[\w.-]{0,199}", re.ASCII)  # no folder, nothing outside; with all endings below 255 bytes
LONGEST_MADE = 180  # letters of an id that is made of a path
IMAGES = (".jpg", ".png", ".jpeg")  # endings of images
JPEGS = (".jpg", ".jpeg")  # endings of the pictures of downloads
MASKS = (".png",)
IDS = "letters, digits and . _ - (at most 200)"  # what SAFE_ID allows, for messages
# Control characters and ends of lines, which tear lists, logs and JSON lines; bytes of a name that is not UTF-8.
UNUSABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def printable(name: str) -> str:
    r"""A file name as one line of text that every file takes: what is no text is escaped, as in caf\xe9."""
    return UNUSABLE.sub(_escaped, name)


def _escaped(match: re.Match[str]) -> str:
    letter = match[0]
    is_byte = "\udc80" <= letter <= "\udcff"  # how Python holds a byte that is not UTF-8
    return f"\\x{ord(letter) - 0xDC00:02x}" if is_byte else ascii(letter)[1:-1]


def ids_of_paths(paths: Sequence[str]) -> dict[str, str]:
    """An id for every path, made of its letters that an id can have; the same whatever other paths there are.

    Only where two paths give one id, in any case, those after the first of them have a digest of the path behind it.

    >>> ids_of_paths(["a.jpg", "a.png", "cats/Küche (1).jpg"])
    {'a': 'a.jpg', 'a-b99644': 'a.png', 'cats_Kuche__1_': 'cats/Küche (1).jpg'}
    """
    ids: dict[str, str] = {}
    known: set[str] = set()
    for path in sorted(paths, key=lambda path: (_id_of(path) != os.path.splitext(path)[0], path)):
        image_id = _id_of(path)
        if image_id.lower() in known:
            image_id += "-" + hashlib.blake2b(os.fsencode(path), digest_size=3).hexdigest()
        known.add(image_id.lower())
        ids[image_id] = path
    return ids


def _id_of(path: str) -> str:
    stem = os.path.splitext(path)[0].replace("/", "_")
    latin = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9_.-]", "_", latin[:LONGEST_MADE]).lstrip(".-") or "image"


def has_ending(name: str, suffixes: tuple[str, ...]) -> bool:
    """Whether a name ends with one of these, as .JPG does with .jpg."""
    return os.path.splitext(name)[1].lower() in suffixes


def names_in(folder: Path, suffixes: tuple[str, ...]) -> Iterator[str]:
    """Names of the entries of a folder that end with one of these; nothing where there is no folder."""
    return (name for name in (os.listdir(folder) if folder.is_dir() else ()) if has_ending(name, suffixes))


def file_of(folder: Path, image_id: str, suffixes: tuple[str, ...]) -> Path:
    """The file of an id: the first of `spellings` that exists, the first of them where none does."""
    paths = (f"{folder}/{image_id}{ending}" for ending in spellings(suffixes))
    return Path(next(filter(os.path.exists, paths), f"{folder}/{image_id}{suffixes[0]}"))


@cache
def spellings(suffixes: tuple[str, ...]) -> tuple[str, ...]:
    """Endings in every mixture of cases: first as given, then in capitals, then the rest."""
    mixed = ("".join(letters) for suffix in suffixes for letters in product(*zip(suffix, suffix.upper(), strict=True)))
    return tuple(dict.fromkeys([*suffixes, *map(str.upper, suffixes), *mixed]))
