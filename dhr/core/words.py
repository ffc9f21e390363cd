"""What a user types: `key=value` as it has to stand on the command line, and what `~` and `{split}` in a path mean."""

import difflib
import os
import re
import shlex
from collections.abc import Iterable
from pathlib import Path

from dhr.core.errors import InputError

PLAIN = re.compile(r"(?!null$)[^\\'\",$][^\\,$]*(?<!['\"])", re.IGNORECASE)  # read as it stands, see dhr.config.texts

LARGEST_SHARE = 0.9  # of the images of a data set may be set aside


def word(key: str, value: object) -> str:
    """`key=value` to be copied and run: quoted for the shell and, where needed, for Hydra's grammar too.

    >>> print(word("run", "voc 1"), word("run", "20241122"), word("root", "/data/a,b"))
    run='voc 1' run=20241122 root="'/data/a,b'"
    """
    text = str(value)
    typed = text if PLAIN.fullmatch(text) else quoted(text)
    if "'" in typed and not re.search(r'["$`\\!]', typed):
        return f'{key}="{typed}"'
    return f"{key}={shlex.quote(typed)}"


def quoted(text: str) -> str:
    r"""A text in single quotes, which Hydra reads back as it was: a backslash before a quote is doubled.

    >>> print(quoted("it's"), quoted("C:\\"))
    'it\'s' 'C:\\'
    """
    return "'" + re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), text) + "'"


def open_home(text: str) -> str:
    """A path with its leading `~` or `~user` replaced by that home folder; other texts are left alone.

    Raises:
        InputError: there is no such user.
    """
    if not text.startswith("~"):
        return text
    opened = os.path.expanduser(text)
    if opened.startswith("~"):
        raise InputError(
            f"{text}: no such home folder; write the whole path, or ./{text} for a name that begins with ~"
        )
    return opened


def of_split(folder: str, split: str) -> Path:
    """A folder with `{split}` replaced by the name of the split; other braces are a part of its name.

    >>> of_split("masks/{split}/{other}", "train").as_posix()
    'masks/train/{other}'
    """
    return Path(folder.replace("{split}", split))


def as_share(text: str) -> float | None:
    """The share of images that a text asks to set aside, from 0 to LARGEST_SHARE; None where it is something else.

    >>> as_share("0.2"), as_share(".25"), as_share("0"), as_share("1"), as_share("list.txt")
    (0.2, 0.25, 0.0, None, None)
    """
    is_number = re.fullmatch(r"0?\.\d{1,9}|0", text) is not None
    return float(text) if is_number and float(text) <= LARGEST_SHARE else None


def duration(seconds: float) -> str:
    """A time as a person says it.

    >>> duration(75), duration(7260)
    ('1 min 15 s', '2 h 1 min')
    """
    hours, minutes = divmod(round(seconds) // 60, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {round(seconds) % 60} s"


def is_pattern(text: str) -> bool:
    """Whether a path has letters that stand for others, as in *.png.

    >>> is_pattern("a/*.png"), is_pattern("a/b.png")
    (True, False)
    """
    return not set("*?[").isdisjoint(text)


def nearest(word: str, known: Iterable[str]) -> str:
    """The question "did you mean ...? " for a likely misspelling, else an empty text.

    >>> nearest("pascal", ["voc", "coco"]), nearest("cooc", ["voc", "coco"])
    ('', 'did you mean coco? ')
    """
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {close[0]}? " if close else ""
