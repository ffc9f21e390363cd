"""Before `make photos` begins: are the settings of its rows understood, and how long will it take.

Usage: python scripts/before_photos.py <folder of the photographs> <images of every split, or null> <runs to be made>
[<settings of a row> ...]
"""

import sys
from pathlib import Path

from dhr.config.command import WRONG_CONFIG, exit_codes
from dhr.config.compose import compose
from dhr.core.errors import InputError
from dhr.dataset.original.interface import Given, Roots
from dhr.dataset.original.voc import Voc2012

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
    """Prints one line; 2 where the folder holds no photographs of VOC's layout, or a setting is wrong."""
    if len(sys.argv) < 4:
        print(__doc__, file=sys.stderr)
        return 2
    folder, limit, runs = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    with exit_codes(WRONG_CONFIG, debug=False):
        if limit != "null" and not (limit.isdecimal() and int(limit)):
            raise InputError(f"PHOTOS_LIMIT: {limit}: not a number of images; use PHOTOS_LIMIT=200, or leave it out")
        for row in sys.argv[4:]:
            compose("train", ["dataset=voc_photos", *row.split()])
        images = len(Voc2012().open(Given(Roots(f"PHOTOS: {folder}", (folder,)))).splits["train_aug"])
    print(sentence(images if limit == "null" else min(images, int(limit)), runs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
