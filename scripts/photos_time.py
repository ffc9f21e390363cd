"""How long `make photos` will take, said before it begins.

Usage: python scripts/photos_time.py <folder of the photographs> <images of every split, or null> <runs to be made>
"""

import sys
from pathlib import Path

from dhr.dataset.original.interface import Given, Roots
from dhr.dataset.original.voc import Voc2012
from dhr.errors import InputError

# On two CPU cores: minutes whatever the number of images, and minutes for MEASURED training images, at most.
MEASURED = 1803
HOURS = 120  # minutes from which on hours are said
RUN, MASKS, FEATURES = (2, 38), (1, 35), (1, 5)


def minutes(images: int, fixed: float, for_measured: float) -> float:
    """At most so many minutes, for so many training images."""
    return fixed + for_measured * images / MEASURED


def sentence(images: int, runs: int) -> str:
    """What `make photos` says before it begins."""
    if not runs:
        return f"{images} training images; all runs are made"
    run, masks, features = (minutes(images, *each) for each in (RUN, MASKS, FEATURES))
    whole = runs * run + masks + features
    together = f"{whole / 60:.1f} hours" if whole > HOURS else f"{whole:.0f} minutes"
    return (
        f"{images} training images; {runs} run{'s' * (runs != 1)} to be made, of at most {run:.0f} minutes each on two "
        f"CPU cores, after {masks:.0f} for masks and {features:.0f} for features where these are missing; "
        f"together at most {together}"
    )


def main() -> int:
    """Prints one line; 2 where the folder holds no photographs of VOC's layout."""
    if len(sys.argv) != 4 or not (sys.argv[2] == "null" or sys.argv[2].isdecimal()):
        print(__doc__, file=sys.stderr)
        return 2
    folder, limit, runs = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    try:
        images = len(Voc2012().open(Given(Roots(f"PHOTOS: {folder}", (folder,)))).splits["train_aug"])
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print(sentence(images if limit == "null" else min(images, int(limit)), runs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
