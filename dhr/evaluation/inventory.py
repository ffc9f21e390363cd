"""Which images of a split have a product in a folder that is to be scored."""

from dataclasses import dataclass
from pathlib import Path

from dhr.core.errors import InputError
from dhr.dataset.split import Split

SHOWN = 5  # ids named in one message


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
        if self.missing and not allow_missing:
            first = ", ".join(self.missing[:SHOWN])
            raise InputError(
                f"{folder}: {len(self.missing)} {self.what} are missing ({first}); "
                f"{self.cure}, or count and leave them out with allow_missing=true"
            )
        if self.extra and strict:
            raise InputError(f"{folder}: {len(self.extra)} {self.what} of no image ({', '.join(self.extra[:SHOWN])})")
        if not self.found:
            raise InputError(f"{folder}: holds no {self.what} of an image of this split")
