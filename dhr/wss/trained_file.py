"""The network of a WSS method on disk, and beside it the settings that it was trained with."""

import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dhr.core.errors import InputError
from dhr.disk.atomic import read_json, write_json
from dhr.disk.ledger import digest_of
from dhr.disk.lock import only_writer
from dhr.disk.mark import sha256_of
from dhr.disk.output import differing_keys
from dhr.disk.weights.state import read_checkpoint
from dhr.training.fitting import LAST

RECIPE = "recipe.json"  # beside the weights: the settings of the training


@dataclass(frozen=True)
class TrainedFile:
    """The weights of the one network that a method trains, and the record of the settings that it was trained with.

    Attributes:
        folder: of both files.
        name: of the network.
        settings: of the network that is wanted.
        overwrite: whether a network that is stored is out of date.
        spare: names of settings of the recipe that a record may hold beside, since they change nothing.
    """

    folder: Path
    name: str
    settings: Mapping[str, object]
    overwrite: bool = False
    spare: Collection[str] = ()

    @property
    def weights(self) -> Path:
        """File of the weights."""
        return self.folder / f"{self.name}.safetensors"

    @property
    def recipe(self) -> Path:
        """File of the settings of the training, with the digest of the weights."""
        return self.folder / RECIPE

    def is_there(self) -> bool:
        """Whether a network of these settings is stored; False with `overwrite`, which trains it anew.

        False too for weights that were written in the very end of a training that was not concluded: it goes on.

        Raises:
            InputError: the stored weights have other settings or none, or do not match their digest.
        """
        if self.overwrite or not self.weights.exists():
            return False
        cure = "overwrite=true trains it and makes its masks anew"
        recorded = without(read_json(self.recipe), self.spare) if self.recipe.exists() else None
        differing = differing_keys(recorded, {**self.settings, "weights": self.digest()})
        if not differing or self.begun.exists():
            return not differing
        if recorded is None:
            raise InputError(f"{self.weights}: does not say how it was trained (no {RECIPE}); {cure}")
        if differing == ["weights"]:
            raise InputError(f"{self.weights}: not the {self.name} that {self.recipe} tells of; {cure}")
        raise InputError(
            f"{self.weights}: was made with other settings ({', '.join(differing)} in {self.recipe}); {cure}"
        )

    def digest(self) -> str:
        """SHA-256 of the stored weights."""
        return sha256_of(self.weights)

    @property
    def begun(self) -> Path:
        """Folder of the checkpoints of an unfinished training with these settings; other settings have another one."""
        return self.folder / f".training-{digest_of(self.settings)[:8]}"

    def has_learnt(self) -> bool:
        """Whether learnt weights come over those that a network begins with: it is stored, or its training goes on.

        Raises:
            InputError: as `is_there`.
        """
        return self.is_there() or (self.begun / LAST).exists()

    def steps_done(self) -> int:
        """Steps that an unfinished training with these settings has made.

        Raises:
            InputError: its checkpoint cannot be read.
        """
        last = self.begun / LAST
        step = read_checkpoint(last).get("global_step") if last.exists() else 0
        return step if isinstance(step, int) else 0

    def conclude(self) -> None:
        """Records the settings and the digest of the stored weights, and removes the checkpoints."""
        write_json(self.recipe, {**self.settings, "weights": self.digest()})
        for folder in self.folder.glob(".training-*"):
            shutil.rmtree(folder)

    def tidy(self) -> None:
        """Removes the checkpoints of a training that was killed between its record and the end of `conclude`.

        Raises:
            InputError: another process trains it anew.
        """
        if self.begun.exists():
            with only_writer(self.folder):
                shutil.rmtree(self.begun)


def without(settings: Any, names: Collection[str]) -> Any:
    """Settings without some of those of the recipe; what is none stays as it is.

    >>> without({"seed": 1, "recipe": {"epochs": 3, "gamma": 2.0}}, {"gamma"})
    {'seed': 1, 'recipe': {'epochs': 3}}
    """
    recipe = settings.get("recipe") if isinstance(settings, Mapping) else None
    if not isinstance(recipe, Mapping):
        return settings
    return {**settings, "recipe": {key: value for key, value in recipe.items() if key not in names}}
