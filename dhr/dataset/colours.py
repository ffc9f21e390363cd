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
    """The colours of a data set's labels, by which a mask is recognised whose labels were renumbered.

    A mask is refused only if all its colours are the data set's, or all are PASCAL VOC's, but stand at other labels.
    Grey masks, grey ramps, palettes of one colour and other colours say nothing about the labels.

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
        """What is wrong with the colours of a PNG, None if nothing; `values` hold each of its labels once or more."""
        entries = palette_entries(data)
        if entries is None or self._is_plain(entries):
            return None
        count = min(len(entries) // 3, IGNORE)  # what is ignored may have any colour
        triples = zip(entries[0::3], entries[1::3], entries[2::3], strict=False)
        listed = dict(zip(range(count), triples, strict=False))
        if not any(_moved(listed, places) for places in self._places):
            return None  # whatever labels occur: counting them costs as much as decoding them
        labels = np.flatnonzero(np.bincount(values.ravel(), minlength=count)[:count])
        colours = {label: listed[label] for label in map(int, labels)}
        # VOC's palette without its black may be meant only where its first entries stand first.
        shifted = entries[: 3 * LEADING] == bytes(chain(*self._palettes[2][:LEADING]))
        accepted = self._palettes if shifted else self._palettes[:2]
        if len({*colours.values()}) < len(colours) or any(_agree(colours, palette) for palette in accepted):
            return None
        moved = (_moved(colours, places) for places in self._places if {*colours.values()} <= places.keys())
        pair = next((pair for pair in moved if pair is not None), None)
        if pair is None:
            return None
        label, other = pair
        meant = "what is ignored" if other == IGNORE else f"label {other}, {self.names[other]}"
        return f"its palette gives label {label} the colour of {meant}: these labels are not the data set's"

    def _is_plain(self, entries: bytes) -> bool:
        """Whether the first entries show that no label was renumbered, whatever labels occur; true of most masks."""
        if entries[0::3] == entries[1::3] == entries[2::3]:
            return True
        length = min(len(entries), 3 * len(self.palette))
        return any(entries[:length] == start[:length] for start in self._starts)

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


def _agree(colours: Mapping[int, Colour], palette: Palette) -> bool:
    """Whether the palette gives every label this colour."""
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
        labels = places.get(colour)
        if labels is not None and label not in labels and len({*colour}) > 1:
            return label, labels[0]
    return None
