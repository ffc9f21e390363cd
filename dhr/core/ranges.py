"""Numbers and texts that parts and commands take, as types with their range; a range of one place stands there."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, MinLen, Predicate


@dataclass(frozen=True, slots=True)
class Rule(Predicate):
    """A condition that annotated_types has no word for.

    Attributes:
        words: how a message goes on behind the type, for instance " of letters".
    """

    words: str


def is_name(text: str) -> bool:
    """True for what can be a file or a folder on every system."""
    return re.fullmatch(r"[A-Za-z0-9._-]+", text) is not None and set(text) != {"."}


def all_differ(values: Sequence[object]) -> bool:
    """True if no value stands twice."""
    return len({*values}) == len(values)


MANY = 1_000_000_000
NAMED = Rule(is_name, " of letters, digits and . _ -")
ONCE = Rule(all_differ, ", none twice")  # a value that stands twice would count twice
GAP = Rule(lambda text: text.count("{}") == 1, " with one {} in it")

Name = Annotated[str, NAMED]
Texts = Annotated[tuple[str, ...], MinLen(1), ONCE]
Templates = Annotated[tuple[Annotated[str, GAP], ...], MinLen(1), ONCE]
UnitInterval = Annotated[float, Ge(0), Le(1)]
Decay = Annotated[float, Ge(0), Le(0.999999)]  # at 1 nothing would ever be learnt
Dropout = Annotated[float, Ge(0), Le(0.99)]  # at 1 nothing would be left
Rate = Annotated[float, Gt(0), Le(10)]
WeightDecay = Annotated[float, Ge(0), Le(10)]
Power = Annotated[float, Ge(0), Le(10)]
Gamma = Annotated[float, Gt(0), Le(10)]
Weight = Annotated[float, Ge(0), Le(10_000)]  # of a term of a sum
Scale = Annotated[float, Ge(0.05), Le(10)]  # on the size of an image
Scales = Annotated[tuple[Scale, ...], MinLen(1), ONCE]
Precision = Literal["fp32", "bf16", "fp16"]  # of the matrix products of a network at work
Seed = Annotated[int, Ge(0), Le(2**32 - 1)]  # what numpy takes
Workers = Annotated[int, Ge(0), Le(256)]  # each is a process with files of its own
Epoch = Annotated[int, Ge(0), Le(1_000_000)]  # from which on something is done
Count = Annotated[int, Ge(1), Le(1_000_000)]
Steps = Annotated[int, Ge(1), Le(MANY)]
BatchSize = Annotated[int, Ge(2), Le(65536)]  # batch norm of a pooled 1x1 map needs two images
Side = Annotated[int, Ge(8), Le(8192)]  # of an image or a crop, in pixels
LongSide = Annotated[int, Ge(8), Le(16384)]  # that an image is resized to before a crop is cut
SmallCount = Annotated[int, Ge(1), Le(256)]  # layers, heads, strides, cells
Width = Annotated[int, Ge(1), Le(16384)]
FrozenStages = Annotated[int, Ge(0), Le(4)]  # C2..C5
