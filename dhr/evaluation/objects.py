"""How much of the objects of the truth is found, by their size.

An object is a connected part of one class of the truth, background excepted; pixels that touch at a corner are
connected.
"""

import numpy as np

BELOW = (0.01, 0.05)  # shares of the pixels of an image
COUNTED = ("objects", "pixels", "hit", "found")
DEFINITION = (
    "objects: connected parts of the truth of one class (8 neighbours), background excepted, that cover less than the "
    "share `below` of the pixels of their image; recall: share of their pixels that have their class; found: share of "
    "these objects at least half of whose pixels have it"
)


def recalls(counts: np.ndarray) -> list[dict[str, float | int | None]]:
    """Recalls by size as they stand in a score file, from counts (S,4) of all images; null where there is no object.

    >>> recalls(np.array([[0, 0, 0, 0], [4, 200, 150, 3]]))[1]
    {'below': 0.05, 'objects': 4, 'recall': 0.75, 'found': 0.75}
    """
    return [
        {
            "below": below,
            "objects": int(number),
            "recall": float(hit / pixels) if number else None,
            "found": float(found / number) if number else None,
        }
        for below, (number, pixels, hit, found) in zip(BELOW, counts, strict=True)
    ]
