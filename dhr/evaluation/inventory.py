"""Which images of a split have a mask in a folder."""

from dataclasses import dataclass
from pathlib import Path

from dhr.core.errors import InputError
from dhr.dataset.split import Split

SHOWN = 5  # ids named in one message


@dataclass(frozen=True)
class Inventory:
    """Which ids of a split have a mask: `found`, `missing`, and `extra` masks of no id, sorted."""

    found: list[str]
    missing: list[str]
    extra: list[str]

    @classmethod
    def of(cls, split: Split, folder: Path) -> "Inventory":
        """Compares a split with a folder of masks.

        Raises:
            InputError: there is no such folder.
        """
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder of masks; make it with python -m dhr.predict run=<folder>")
        wanted = set(split.all_ids())
        stored = {path.stem for path in folder.glob("*.png")}
        return cls(found=sorted(wanted & stored), missing=sorted(wanted - stored), extra=sorted(stored - wanted))

    def check(self, folder: Path, *, strict: bool, allow_missing: bool) -> None:
        """Refuses missing masks, and with `strict` extra ones.

        Raises:
            InputError: names the first ids.
        """
        if self.missing and not allow_missing:
            first = ", ".join(self.missing[:SHOWN])
            raise InputError(
                f"{folder}: {len(self.missing)} masks are missing ({first}); predict them, "
                "or count and leave them out with allow_missing=true"
            )
        if self.extra and strict:
            raise InputError(f"{folder}: {len(self.extra)} masks of no image ({', '.join(self.extra[:SHOWN])})")
        if not self.found:
            raise InputError(f"{folder}: holds no mask of an image of this split")
