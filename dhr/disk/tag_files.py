"""Tags that the user brings: which classes every image shows, from whatever tool wrote them down."""

import logging
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dhr.core.errors import InputError
from dhr.core.words import nearest
from dhr.disk.any_image import endings
from dhr.disk.file_names import has_ending, printable
from dhr.disk.reading import read_file
from dhr.disk.tag_exports import CVAT, is_yolo, read_cvat, read_json_tags, read_yolo
from dhr.disk.tag_tables import Stated, read_table

BACKGROUND = "background"  # label 0 of every mask, so that no image can be tagged with it
HIDDEN = (".", "__MACOSX")  # beginnings of names that are passed over
TABLES = (".csv", ".tsv", ".txt")
LONGEST = 200  # letters of the name of a class
TAG_BYTES = 1 << 26  # of a tag file that is read as a whole
FORMS = (
    "a table (.csv, .tsv, .txt), JSON (plain, Label Studio, COCO), CVAT for images 1.1 (.xml), the classes.txt or "
    "data.yaml of YOLO labels, or a folder with one folder per class"
)
log = logging.getLogger("dhr.disk")


def read_tag_file(path: Path, *, classes: Sequence[str] | None = None) -> dict[str, tuple[str, ...]]:
    """Name of every image, as it stands there, with its tags, in the order of the file, each once.

    An image that is named several times has the tags of all places. Names of classes differ by more than case and
    blanks: other spellings are taken as one of `classes`, or as the most frequent spelling, which is logged.

    Args:
        path: see FORMS.
        classes: the classes that are known, in the spelling that counts; None for whatever is there.

    Raises:
        InputError: missing, unreadable, of another form, without any image, or with a name that is no class; it names
            the line or the element.
    """
    stated = [_clean(each) for each in _stated(path, classes or ())]
    if not stated:
        raise InputError(f"{path}: names no image; expected is {FORMS}")
    spelt = _of_known(stated, classes) if classes is not None else _most_frequent(stated, path)
    tags: dict[str, dict[str, None]] = {}
    for each in stated:
        tags.setdefault(each.image, {}).update(dict.fromkeys(spelt[tag] for tag in each.tags))
    return {image: tuple(names) for image, names in tags.items()}


def _stated(path: Path, known: Sequence[str]) -> Iterator[Stated]:
    """What a tag file says, one place at a time, by its form."""
    ending = path.suffix.lower()
    if is_yolo(path):
        return read_yolo(path)
    if path.is_dir():
        return _read_folders(path)
    if ending == ".json":
        return read_json_tags(path)
    data = read_file(path, "tags", absent="no such file or folder", cure=f"expected is {FORMS}", limit=TAG_BYTES)
    if ending == ".xml" or CVAT.match(data):
        return read_cvat(data, path)
    if ending not in TABLES:
        raise InputError(f"{path}: {ending or 'no ending'}: not the ending of a tag file; expected is {FORMS}")
    return read_table(data, path, known)


def _read_folders(folder: Path) -> Iterator[Stated]:
    """Images in a folder per class: a folder's name is the tag of all images in it, however deep they lie.

    A folder that all of these lie in, as in an archive, is no class.
    """
    paths = [path.relative_to(folder).parts for path in sorted(folder.rglob("*")) if has_ending(path.name, endings())]
    deep = [parts for parts in paths if len(parts) > 1 and not any(part.startswith(HIDDEN) for part in parts)]
    depth = 0
    while len({parts[depth] for parts in deep}) == 1 and min(map(len, deep)) > depth + 2:
        depth += 1
    for parts in deep:
        yield Stated(str(folder.joinpath(*parts)), "/".join(parts), (parts[depth],))


def _clean(stated: Stated) -> Stated:
    """Names as one line of text without blanks around them; slashes as in a path.

    Raises:
        InputError: an image without a name, or the name of a class that is none.
    """
    image = unicodedata.normalize("NFC", stated.image.strip()).replace("\\", "/")
    if not image.rstrip("/"):
        raise InputError(f"{stated.place}: no name of an image; write its file name, for instance cat.jpg")
    tags = [as_class(tag, stated.place) for tag in stated.tags]
    return Stated(stated.place, image, tuple(tag for tag in tags if tag))


def as_class(text: str, place: str) -> str:
    """The name of a class without blanks around it and with single ones inside; it may be empty.

    Raises:
        InputError: it is too long, has control characters, or is that of the background; `place` is where it stands.
    """
    name = " ".join(unicodedata.normalize("NFC", text).split())
    if len(name) > LONGEST or not name.isprintable():
        shown = printable(name[:80])
        raise InputError(f"{place}: '{shown}': not the name of a class; use at most {LONGEST} plain letters")
    if name.casefold() == BACKGROUND:
        raise InputError(f"{place}: {name}: is label 0 of every image and no tag; leave it out")
    return name


def _of_known(stated: Iterable[Stated], classes: Sequence[str]) -> dict[str, str]:
    """Every spelling that is used, with the class it means."""
    known = {name.casefold(): name for name in classes}
    spelt: dict[str, str] = {}
    for each in stated:
        for tag in each.tags:
            if tag.casefold() not in known:
                listed = ", ".join(classes[:25])
                raise InputError(f"{each.place}: {tag}: not a class; {nearest(tag, classes)}allowed: {listed}")
            spelt[tag] = known[tag.casefold()]
    return spelt


def _most_frequent(stated: Iterable[Stated], path: Path) -> dict[str, str]:
    """Every spelling that is used, with the most frequent one that differs from it by case only."""
    counts = Counter(tag for each in stated for tag in each.tags)  # most_common: of equal counts, the first seen first
    chosen: dict[str, str] = {}
    spelt = {tag: chosen.setdefault(tag.casefold(), tag) for tag, _ in counts.most_common()}
    for tag, name in spelt.items():
        if tag != name:
            log.info(f"{path}: {tag} ({counts[tag]} times): taken as {name} ({counts[name]} times)")
    return spelt


@dataclass
class ImageNames:
    """Which of the user's images a name means that another tool wrote.

    `images` are paths below the folder of the images, with slashes. A name means the image of that path, whatever the
    case and the ending of a picture; a name with other folders in front, absolute or not, means the image at its end.
    Nothing is opened, so no name leads out of the folder. `place` is where the names stand, for messages.

    >>> names = ImageNames(["cats/1.jpg", "2.JPG"])
    >>> names.find("/home/me/pictures/cats/1.png"), names.find("2"), names.find("../3.jpg")
    ('cats/1.jpg', '2.JPG', None)
    """

    images: Sequence[str]
    place: str = "images"
    _known: tuple[dict[str, list[str]], ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._known = tuple(self._by(level) for level in range(len(LEVELS)))

    def _by(self, level: int) -> dict[str, list[str]]:
        known: dict[str, list[str]] = {}
        for image in self.images:
            known.setdefault(LEVELS[level](unicodedata.normalize("NFC", image)), []).append(image)
        return known

    def find(self, name: str) -> str | None:
        """The image that a name means; None for none.

        Raises:
            InputError: several images are as near.
        """
        parts = [
            part for part in re.split(r"[/\\]+", unicodedata.normalize("NFC", name.strip())) if part not in ("", ".")
        ]
        tails = ["/".join(parts[start:]) for start in range(len(parts))]
        for level, known in zip(LEVELS, self._known, strict=True):
            for tail in tails[-1:] if level in (_base, _bare_base) else tails:
                found = known.get(level(tail), [])
                if len(found) > 1:
                    several = ", ".join(map(printable, found[:3]))
                    shown = printable(name)
                    raise InputError(f"{self.place}: {shown}: may be {several}; write the whole path of the image")
                if found:
                    return found[0]
        return None


def _whole(name: str) -> str:
    return name


def _folded(name: str) -> str:
    return name.casefold()


def _bare(name: str) -> str:
    """Without the ending of a picture."""
    stem, _, _ = name.casefold().rpartition(".")
    return stem if stem and has_ending(name, endings()) else name.casefold()


def _base(name: str) -> str:
    return _folded(name.rpartition("/")[2])


def _bare_base(name: str) -> str:
    return _bare(name.rpartition("/")[2])


LEVELS = (_whole, _folded, _bare, _base, _bare_base)  # ways to compare names, the nearest first


def tags_of_images(
    stated: Mapping[str, tuple[str, ...]], images: Sequence[str], place: Path | str = "tags"
) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """Tags of every image that is named in a tag file, and the names there that are no image.

    Args:
        stated: as `read_tag_file` reads it.
        images: paths of the images below their folder.
        place: of the tag file, for messages.

    Raises:
        InputError: a name may mean several images.
    """
    names, tags, absent = ImageNames(images, str(place)), dict[str, dict[str, None]](), []
    for name, of_name in stated.items():
        image = names.find(name)
        if image is None:
            absent.append(name)
        else:
            tags.setdefault(image, {}).update(dict.fromkeys(of_name))
    return {image: tuple(of_image) for image, of_image in tags.items()}, absent
