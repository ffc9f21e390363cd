"""Names of files: which can be ids, and how any is shown."""

import re

SAFE_ID = re.compile(r"\w[\w.-]{0,199}", re.ASCII)  # no folder, nothing outside; with all endings below 255 bytes
IDS = "letters, digits and . _ - (at most 200)"  # what SAFE_ID allows, for messages
# Control characters and ends of lines, which tear lists, logs and JSON lines; bytes of a name that is not UTF-8.
UNUSABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def printable(name: str) -> str:
    r"""A file name as one line of text that every file takes: what is no text is escaped, as in caf\xe9."""
    return UNUSABLE.sub(_escaped, name)


def _escaped(found: re.Match[str]) -> str:
    letter = found[0]
    is_byte = "\udc80" <= letter <= "\udcff"  # how Python holds a byte that is not UTF-8
    return f"\\x{ord(letter) - 0xDC00:02x}" if is_byte else ascii(letter)[1:-1]
