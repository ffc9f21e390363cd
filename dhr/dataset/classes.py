"""Class names, palettes and published sizes of every data set."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from dhr.core.errors import InputError
from dhr.core.labels import IGNORE, OWN
from dhr.disk.atomic import read_json

TABLES = Path(__file__).parent / "tables"
BACKGROUND = "background"
Palette = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class ClassTable:
    """What the class indices of one data set mean.

    Attributes:
        names: class names; a mask holds positions in this list, background first where there is one.
        palette: one RGB colour (0 to 255) per class, for palette PNGs and pictures.
        groups: super-category of each class, None where the data set defines none.
        sizes: published number of images per split.
        orders: other orders of the same names that are in use, by the name of the order; empty where there is only one.
        aliases: other spellings of the names that are in use -> ours.
    """

    name: str
    names: tuple[str, ...]
    has_background: bool
    palette: Palette
    groups: tuple[str, ...] | None
    sizes: Mapping[str, int]
    orders: Mapping[str, tuple[str, ...]]
    aliases: Mapping[str, str] = field(default_factory=dict)

    def reordered(self, names: Sequence[str], place: Path) -> "ClassTable":
        """The same classes in another order; colours stay with the labels, as in the palettes that are in use.

        Args:
            names: the classes in the order of the labels; ours, or spelt as in `aliases`.
            place: where the names stand, for messages.

        Raises:
            InputError: other names, or the background is not the first.
        """
        ours = [self.aliases.get(name, name) for name in names]
        if sorted(ours) != sorted(self.names):
            strange = sorted({*ours} - {*self.names}) or sorted({*self.names} - {*ours}) or ["one of them twice"]
            raise InputError(f"{place}: {strange[0]}: the {len(self.names)} classes of {self.name} are due, each once")
        if self.has_background and ours[0] != self.names[0]:
            raise InputError(f"{place}: {names[0]}: the first class has to be {self.names[0]}")
        groups = None if self.groups is None else tuple(self.groups[self.names.index(name)] for name in ours)
        return replace(self, names=tuple(ours), groups=groups)

    @property
    def num_classes(self) -> int:
        """Number of classes a network tells apart, background included."""
        return len(self.names)

    @property
    def num_tags(self) -> int:
        """Number of classes an image can be tagged with: all but the background."""
        return len(self.names) - self.first_tag

    @property
    def first_tag(self) -> int:
        """Index of the first class that is not background."""
        return int(self.has_background)


@cache
def bit_palette(count: int, *, first: int = 0) -> Palette:
    """Return the colours of PASCAL VOC's palette for the labels `first` to `first + count - 1`.

    The label's bits are dealt in turn to red, green and blue, each channel being filled from its highest bit
    downwards. Data sets without a background start at 1, so that no class is black.
    """

    def channel(label: int, offset: int) -> int:
        return sum((label >> 3 * bit + offset & 1) << 7 - bit for bit in range(8))

    return tuple((channel(label, 0), channel(label, 1), channel(label, 2)) for label in range(first, first + count))


def known_tables() -> list[str]:
    """Return the names `load_classes` accepts, sorted."""
    return sorted(path.stem for path in TABLES.glob("*.json"))


@cache
def load_classes(name: str) -> ClassTable:
    """Read the class table `name` from the package's data.

    A table without a `palette` uses the VOC bit pattern, shifted by one where it has no background.

    Raises:
        InputError: there is no table of that name, or it has more classes than masks of 8 bits can hold.
    """
    if name not in known_tables():
        raise InputError(
            f"dataset.classes: {name}: no class table of that name; use one of {', '.join(known_tables())}"
        )
    table: dict[str, Any] = json.loads((TABLES / f"{name}.json").read_text(encoding="utf-8"))
    names, has_background = tuple(table["names"]), bool(table["has_background"])
    colours = table.get("palette")
    groups = table.get("groups")
    if len(names) > IGNORE:
        raise InputError(f"dataset.classes: {name}: {len(names)} classes; masks hold at most {IGNORE}, labels 0 to 254")
    return ClassTable(
        name=name,
        names=names,
        has_background=has_background,
        palette=tuple((r, g, b) for r, g, b in colours)
        if colours
        else bit_palette(len(names), first=int(not has_background)),
        groups=tuple(groups) if groups else None,
        sizes=table["sizes"],
        orders={order: tuple(listed) for order, listed in table.get("orders", {}).items()},
        aliases=table.get("aliases", {}),
    )


def classes_of(folder: Path, name: str) -> ClassTable:
    """The class table `name` in the order that the data set in `folder` states, ours where it states none.

    Of the table OWN the data set states the classes themselves.

    Raises:
        InputError: there is no such table, or the data set's names are not its classes.
    """
    return table_as_stated(name, read_names(folder), folder / f"{folder.name}.json")


def table_as_stated(name: str, names: Sequence[str] | None, path: Path) -> ClassTable:
    """The class table `name` in the order of `names`, which the file `path` states; ours where it states none.

    Of the table OWN these are the classes themselves.

    Raises:
        InputError: there is no such table, or `names` are not its classes.
    """
    if name == OWN and names is None:
        cure = "python -m dhr.prepare dataset=folder name=<yours> images=<folder> tags=<file>, then dataset=<yours>"
        raise InputError(f"{path}: states no classes, as it has to for images of one's own; {cure}")
    if names is None:
        return load_classes(name)
    return own_table(names, path) if name == OWN else load_classes(name).reordered(names, path)


def own_table(names: Sequence[str], path: Path) -> ClassTable:
    """The class table that the file `path` of a data set of one's own states, in VOC's colours.

    Raises:
        InputError: the first class is not the background, a name stands twice, or there are more than masks can hold.
    """
    problem = None
    if not names or names[0] != BACKGROUND:
        problem = f"{names[0] if names else 'names'}: the first class has to be {BACKGROUND}"
    elif len({*names}) < len(names):
        problem = f"{next(name for name in names if names.count(name) > 1)}: this class stands there twice"
    elif len(names) > IGNORE:
        problem = f"{len(names)} classes; masks hold at most {IGNORE}, labels 0 to 254"
    if problem is not None:
        raise InputError(f"{path}: {problem}; restore this file, or prepare the images again under another name")
    colours = bit_palette(len(names))
    return ClassTable(path.stem, tuple(names), has_background=True, palette=colours, groups=None, sizes={}, orders={})


def read_names(folder: Path) -> tuple[str, ...] | None:
    """Class names in the order of the masks' labels, from `<folder>/<folder>.json`; None without this file.

    Raises:
        InputError: the file is not of the form {"names": [...], "ignore": 255}.
    """
    path = folder / f"{folder.name}.json"
    if not path.is_file():
        return None
    values: Any = read_json(path)
    names = values.get("names") if isinstance(values, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f'{path}: no list "names" in it; it has to be {{"names": [...], "ignore": 255}}')
    if values.get("ignore", 255) != 255:
        raise InputError(f"{path}: ignore {values['ignore']}: masks with another value than 255 are not read")
    return tuple(names)
