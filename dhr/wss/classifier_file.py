"""The classifier of a WSS method on disk, with the recipe beside it that says what it was trained with."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dhr.core.errors import InputError
from dhr.disk.atomic import read_json, write_json
from dhr.disk.ledger import digest_of
from dhr.disk.mark import sha256_of
from dhr.disk.output import differing_keys

RECIPE = "recipe.json"  # beside the masks: what they were made with


@dataclass(frozen=True)
class ClassifierFile:
    """The classifier on disk, and the recipe beside it that says what it was trained with.

    Attributes:
        folder: where the two lie.
        settings: of the recipe that is asked for.
    """

    folder: Path
    settings: Mapping[str, object]

    @property
    def weights(self) -> Path:
        """Its weights."""
        return self.folder / "classifier.safetensors"

    @property
    def recipe(self) -> Path:
        """What it was trained with, and the digest of the weights that came of it."""
        return self.folder / RECIPE

    def is_there(self, *, overwrite: bool) -> bool:
        """Whether it need not be trained.

        Raises:
            InputError: what is there came of other settings, or nobody knows of which, and `overwrite` is false.
        """
        if overwrite or not self.weights.exists():
            return False
        cure = "overwrite=true trains it and makes its masks anew"
        if not self.recipe.exists():
            raise InputError(f"{self.weights}: does not say how it was trained (no {RECIPE}); {cure}")
        known = read_json(self.recipe)
        differing = differing_keys(known, {**self.settings, "weights": sha256_of(self.weights)})
        if differing == ["weights"]:
            raise InputError(f"{self.weights}: not the classifier that {self.recipe} tells of; {cure}")
        if differing:
            raise InputError(
                f"{self.weights}: was made with other settings ({', '.join(differing)} in {self.recipe}); {cure}"
            )
        return True

    @property
    def begun(self) -> Path:
        """Checkpoints of a training with these settings that is not done; one with others begins anew."""
        return self.folder / f".training-{digest_of(self.settings)[:8]}"

    def conclude(self) -> None:
        """Says of the weights, now that they are there, what they were trained with."""
        write_json(self.recipe, {**self.settings, "weights": sha256_of(self.weights)})
        for folder in self.folder.glob(".training-*"):
            shutil.rmtree(folder)  # all that is needed of it is in the weights
