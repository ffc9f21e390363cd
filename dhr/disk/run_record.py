"""run.json, read with its types: a run folder may have been made elsewhere, or edited."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dhr.core.errors import InputError
from dhr.disk.atomic import read_object


@dataclass(frozen=True)
class RunRecord:
    """What a run says of itself.

    Attributes:
        entries: all of it.
        status: "running", "stopped", "failed" or "finished", None where it does not say.
        classes: names of the labels that the run learnt, None where it does not say.
        seconds: that it took so far.
    """

    entries: Mapping[str, Any]
    status: str | None
    classes: tuple[str, ...] | None
    seconds: float

    @classmethod
    def read(cls, path: Path) -> "RunRecord":
        """From the run.json of a run folder.

        Raises:
            InputError: missing, unreadable, or a value has another type.
        """
        entries = read_object(path)
        status, classes, seconds = entries.get("status"), entries.get("classes"), entries.get("seconds", 0.0)
        saw = entries.get("saw")
        sound = {
            "status": status is None or isinstance(status, str),
            "classes": classes is None
            or (isinstance(classes, list) and all(isinstance(name, str) for name in classes)),
            "saw": saw is None or (isinstance(saw, dict) and all(isinstance(data, str) for data in saw.values())),
            "seconds": isinstance(seconds, int | float) and 0 <= seconds < float("inf"),
        }
        for key, is_sound in sound.items():
            if not is_sound:
                raise InputError(f"{path}: {key}: {str(entries[key])[:80]}: not what a run writes; restore the file")
        return cls(entries, status, None if classes is None else tuple(classes), float(seconds))
