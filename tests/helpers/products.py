"""A stage of nothing but bytes, for the tests of folders of products."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from dhr.disk.output import Keep, Output
from dhr.disk.products import Products
from dhr.runtime.ranks import Ranks

IDS = [f"i{number}" for number in range(8)]
ALONE = Ranks(0, 1, torch.device("cpu"))


class StopError(Exception):
    """What ends a making before its time."""


@dataclass
class Stage:
    """Makes a file from an image and a setting; keeps which images it was asked for."""

    output: Output
    made: list[str] = field(default_factory=list)
    stop_at: int = len(IDS) + 1

    def run(self, *, overwrite: bool = False) -> list[str]:
        """The ids that were made."""
        self.made = []
        self.output.fill(IDS, self._make, ALONE, title="", overwrite=overwrite)
        return sorted(self.made)

    def _make(self, todo: Sequence[str], keep: Keep) -> Iterator[str]:
        for image_id in todo:
            if len(self.made) == self.stop_at:
                raise StopError
            self.made.append(image_id)
            keep(image_id, self.content(image_id))
            yield image_id

    def content(self, image_id: str) -> bytes:
        return (
            b"".join(path.read_bytes() for path in self.output.sources(image_id)) * 3
            + str(self.output.settings).encode()
        )

    def of(self, **settings: object) -> "Stage":
        """The same with other settings."""
        return Stage(replace(self.output, settings={**self.output.settings, **settings}))

    @property
    def contents(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.output.folder.iterdir()}

    @property
    def expected(self) -> dict[str, bytes]:
        return {self.output.path(image_id).name: self.content(image_id) for image_id in IDS}


def files(stage: Stage) -> list[Path]:
    return [stage.output.path(image_id) for image_id in IDS]


def check(stage: Stage) -> None:
    """As a later stage does."""
    Products.at(stage.output.folder, "make them again").check_all(files(stage))
