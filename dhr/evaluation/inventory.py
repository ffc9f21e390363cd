"""Which images of a split have a product in a folder that is to be scored."""

from dataclasses import dataclass
from pathlib import Path

from dhr.core.errors import InputError
from dhr.dataset.split import Split
from dhr.disk.submission import folder_of

SHOWN = 5  # ids named in one message
COMPETITIONS = ("comp5", "comp6")
DEPTH = 3  # folders at most above the tree of the server, as in submissions_<tag>/validation/results/...


def masks_below(folder: Path, split: str) -> Path:
    """The folder that holds the masks: `folder` itself, or the one below it in the layout of the VOC server.

    Released downloads have submissions_<tag>/validation/results/VOC2012/Segmentation/comp5_val_cls/<id>.png; `folder`
    may be any part of that path.

    Raises:
        InputError: there are several, or only those of other splits.
    """
    if not folder.is_dir() or any(folder.glob("*.png")):
        return folder
    trees = [Path(folder_of(competition, split)).parts for competition in COMPETITIONS]
    found = sorted({
        path
        for tree in trees
        for part in range(len(tree))
        for depth in range(DEPTH if part == 0 else 1)
        for path in folder.glob("/".join(["*"] * depth + list(tree[part:])))
        if path.is_dir()
    })  # fmt: skip
    if len(found) > 1:
        raise InputError(
            f"masks: {folder}: holds masks of split {split} in {' and in '.join(map(str, found))}; "
            f"choose with masks={found[0]}"
        )
    return found[0] if found else folder


@dataclass(frozen=True)
class Inventory:
    """Which ids of a split have a product: `found`, `missing`, and `extra` products of no id, sorted.

    `what` they are and the `cure` for missing ones are for messages.
    """

    found: list[str]
    missing: list[str]
    extra: list[str]
    what: str
    cure: str

    @classmethod
    def of(
        cls, split: Split, folder: Path, *, suffix: str = ".png", what: str = "masks",
        cure: str = "predict them with python -m dhr.predict run=<folder>",
    ) -> "Inventory":  # fmt: skip
        """Compares a split with a folder.

        Raises:
            InputError: there is no such folder.
        """
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder of {what}; {cure}")
        wanted = set(split.all_ids())
        stored = {path.stem for path in folder.glob(f"*{suffix}")}
        found, missing, extra = sorted(wanted & stored), sorted(wanted - stored), sorted(stored - wanted)
        return cls(found, missing, extra, what, cure)

    def check(self, folder: Path, *, strict: bool, allow_missing: bool) -> None:
        """Refuses missing products, and with `strict` extra ones.

        Raises:
            InputError: names the first ids.
        """
        if not self.found:
            held = f"; it holds {', '.join(self.extra[:SHOWN])}" if self.extra else ""
            raise InputError(
                f"{folder}: holds no {self.what} of an image of this split{held}; were they made for another data set "
                f"or split? Name theirs with dataset= and split=, or {self.cure}"
            )
        if self.missing and not allow_missing:
            first = ", ".join(self.missing[:SHOWN])
            raise InputError(
                f"{folder}: {len(self.missing)} {self.what} are missing ({first}); "
                f"{self.cure}, or count and leave them out with allow_missing=true"
            )
        if self.extra and strict:
            raise InputError(
                f"{folder}: {len(self.extra)} {self.what} of no image ({', '.join(self.extra[:SHOWN])}); move them "
                "away, or leave strict=true out: they are counted and not scored"
            )
