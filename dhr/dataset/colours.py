"""The palette of an index mask against its data set's: an editor that saves a mask anew may number its colours anew."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np

from dhr.core.labels import IGNORE
from dhr.dataset.classes import ClassTable, Palette, bit_palette
from dhr.disk.mask import IGNORED_COLOUR, mask_content, mask_values
from dhr.disk.png import palette_entries
from dhr.disk.reading import BadFileError

Colour = tuple[int, int, int]
Places = Mapping[Colour, Sequence[int]]
LEADING = 3  # entries that make a palette VOC's without its black: fewer can be a coincidence
CURE = "a program that saved it anew has numbered the colours anew; restore the original, or its class indices"


@dataclass(frozen=True)
class MaskColours:
    """The colours of a data set's labels, by which a mask is recognised whose labels are others than drawn.

    Only a mask whose colours are all the data set's, or all are PASCAL VOC's, but stand at other labels, is one. Grey
    masks, grey ramps, palettes of one colour and colours of somebody's own say nothing about the labels.

    Attributes:
        palette: of the classes.
        names: of the classes.
    """

    palette: Palette
    names: tuple[str, ...]

    @classmethod
    def of(cls, table: ClassTable) -> "MaskColours":
        """Those of a class table."""
        return cls(table.palette, table.names)

    def read(self, path: Path) -> np.ndarray:
        """(H,W) uint8 class indices of a mask, as `read_mask`.

        Raises:
            BadFileError: as `read_mask`, or the colours stand at other labels.
        """
        data = mask_content(path)
        mask = mask_values(data, path)
        problem = self.problem(data, mask)
        if problem is not None:
            raise BadFileError.of(path, "mask: palette", problem=problem, cure=CURE)
        return mask

    def problem(self, data: bytes, values: np.ndarray) -> str | None:
        """What is wrong with the colours of a PNG, None where nothing is; `values` are its pixels, or one of a kind."""
        entries = palette_entries(data)
        if entries is None or self._is_plain(entries):
            return None
        count = min(len(entries) // 3, IGNORE)  # what is ignored may have any colour
        listed = {label: _colour(entries, label) for label in range(count)}
        if not any(_moved(listed, places) for places in self._places):
            return None  # whatever labels occur: counting them costs as much as decoding them
        labels = np.flatnonzero(np.bincount(values.ravel(), minlength=count)[:count])
        colours = {label: listed[label] for label in map(int, labels)}
        if len({*colours.values()}) < len(colours) or any(_agree(colours, each) for each in self._accepted(entries)):
            return None
        moved = (_moved(colours, places) for places in self._places if {*colours.values()} <= places.keys())
        found = next((pair for pair in moved if pair is not None), None)
        return None if found is None else self._said(*found)

    def _is_plain(self, entries: bytes) -> bool:
        """Whether the first entries show that nothing was numbered anew, whatever labels occur; true of most masks."""
        if entries[0::3] == entries[1::3] == entries[2::3]:
            return True
        length = min(len(entries), 3 * len(self.palette))
        return any(entries[:length] == start[:length] for start in self._starts)

    def _accepted(self, entries: bytes) -> tuple[Palette, ...]:
        """The palettes that may be meant: VOC's without its black only where its first entries stand first."""
        shifted = entries[: 3 * LEADING] == bytes(chain(*self._palettes[2][:LEADING]))
        return self._palettes if shifted else self._palettes[:2]

    @cached_property
    def _starts(self) -> tuple[bytes, ...]:
        return tuple(bytes(chain(*palette)) for palette in self._palettes[:2])

    @cached_property
    def _palettes(self) -> tuple[Palette, Palette, Palette]:
        """The data set's, VOC's, and VOC's without its black, as long as there are classes."""
        count = len(self.palette)
        return self.palette, bit_palette(count), bit_palette(max(count, LEADING), first=1)

    @cached_property
    def _places(self) -> tuple[Places, Places]:
        return _places_of(self.palette), _places_of(self._palettes[1])

    def _said(self, label: int, known: int) -> str:
        meant = "what is ignored" if known == IGNORE else f"label {known}, {self.names[known]}"
        return f"its palette gives label {label} the colour of {meant}: these labels are not the data set's"


def _agree(colours: Mapping[int, Colour], palette: Palette) -> bool:
    """Whether every label has its colour."""
    return all(label < len(palette) and palette[label] == colour for label, colour in colours.items())


def _places_of(palette: Palette) -> Places:
    """Colour -> its labels."""
    places = {IGNORED_COLOUR: [IGNORE]}
    for label, colour in enumerate(palette):
        places.setdefault(colour, []).append(label)
    return places


def _moved(colours: Mapping[int, Colour], places: Places) -> tuple[int, int] | None:
    """The first label whose colour is that of another one, and this other one; None where no label has such a colour.

    Black, white and greys are anybody's.
    """
    for label, colour in colours.items():
        known = places.get(colour)
        if known is not None and label not in known and len({*colour}) > 1:
            return label, known[0]
    return None


def _colour(entries: bytes, label: int) -> Colour:
    red, green, blue = entries[3 * label : 3 * label + 3]
    return red, green, blue
