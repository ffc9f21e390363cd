"""The files of a model of transformers: a folder, or a name on the hub whose files are fetched once."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dhr.core.errors import InputError
from dhr.core.words import open_home
from dhr.disk.atomic import read_object
from dhr.disk.mark import sha256_of

FETCHED = ("*.json", "*.txt", "*.model", "model*.safetensors")  # no pickle and no code is even downloaded
TOKENIZERS = (("tokenizer.json",), ("vocab.json", "merges.txt"), ("tokenizer.model",), ("spiece.model",))
Colours = tuple[tuple[float, float, float], tuple[float, float, float]]


@dataclass(frozen=True)
class ModelFolder:
    """A folder as transformers' `save_pretrained` writes it, with model, tokenizer and image processor.

    Attributes:
        path: of the folder.
        key: of the configuration, by which it was named; that of its revision stands beside it.
    """

    path: Path
    key: str = "name"

    @classmethod
    def find(cls, name: str, revision: str | None, key: str) -> "ModelFolder":
        """The folder of that name, else that of the hub's model in the cache, downloaded where it is not yet there.

        Raises:
            InputError: no such folder and no such model, or the model is not here and cannot be fetched.
        """
        folder = Path(open_home(name))
        if folder.is_dir():
            found = cls(folder, key)
            if revision is not None:
                beside = found.revision_key
                raise InputError(f"{beside}: {revision}: {folder} is a folder; set {beside}=null")
            return found
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import GatedRepoError

        try:
            return cls(Path(snapshot_download(name, revision=revision, allow_patterns=[*FETCHED])), key)
        except GatedRepoError as error:
            cure = f"ask for it at https://huggingface.co/{name} and run hf auth login, or set {key}=<folder>"
            raise InputError(f"{key}: {name}: its publisher gives it to those who asked alone; {cure}") from error
        except (OSError, ValueError, RuntimeError) as error:  # not here and no network, no such model, no name at all
            raise InputError(
                f"{key}: {name}: no such folder, and not to be fetched from the hub ({type(error).__name__}); "
                f"connect to the network once, or bring its files and set {key}=<folder>"
            ) from error

    @property
    def revision_key(self) -> str:
        """Of the configuration."""
        return f"{self.key.rpartition('.')[0]}.revision".lstrip(".")

    @property
    def kind(self) -> str:
        """What config.json calls the model: clip, siglip, ...

        Raises:
            InputError: it is missing, or does not say so.
        """
        kind = read_object(self.path / "config.json").get("model_type")
        if not isinstance(kind, str):
            raise InputError(f"{self.path / 'config.json'}: model_type: {kind}: not the configuration of a model")
        return kind

    def check_kind(self, known: Sequence[str], instead: str) -> None:
        """Refuses another kind of model.

        Args:
            known: kinds that are allowed.
            instead: name of one, in messages.

        Raises:
            InputError: it is none of `known`.
        """
        if self.kind not in known:
            raise InputError(
                f"{self.path}: model_type: {self.kind}: no model that fits here; known: {', '.join(known)}; "
                f"use {self.key}={instead}"
            )

    @property
    def weights(self) -> list[Path]:
        """The files of the weights.

        Raises:
            InputError: there are none that can be read without running code.
        """
        files = sorted(self.path.glob("model*.safetensors"))
        if not files:
            pickles = ", ".join(sorted(path.name for path in self.path.glob("*.bin"))) or "nothing"
            raise InputError(
                f"{self.path}: no model.safetensors ({pickles} instead; pickled weights are not read); set "
                f"{self.revision_key} to one that has it, or load the model once and model.save_pretrained(<folder>)"
            )
        return files

    def digest(self) -> str:
        """SHA-256 of all that decides what the model computes: its weights and every JSON or text file beside them."""
        files = {*self.weights, *(path for path in self.path.iterdir() if path.suffix in (".json", ".txt", ".model"))}
        stated = [f"{path.name} {sha256_of(path)}" for path in sorted(files)]
        return hashlib.sha256("\n".join(stated).encode()).hexdigest()

    def check_tokenizer(self) -> None:
        """Refuses a folder without tokenizer, for which transformers would make an empty one.

        Raises:
            InputError: there is none.
        """
        if not any(all((self.path / name).is_file() for name in names) for names in TOKENIZERS):
            raise InputError(
                f"{self.path}: no tokenizer (tokenizer.json); put that of the model there: "
                "tokenizer.save_pretrained(<folder>)"
            )

    def check_processor(self) -> Path:
        """The file that says how images are prepared.

        Raises:
            InputError: there is none.
        """
        path = self.path / "preprocessor_config.json"
        if not path.is_file() and (self.path / "processor_config.json").is_file():
            path = self.path / "processor_config.json"
        read_object(path)
        return path

    def colours(self) -> Colours:
        """Mean and deviation that images are normalised with, of RGB in [0,1].

        Raises:
            InputError: the image processor is missing or does not state them.
        """
        path = self.check_processor()
        stated: Mapping[str, Any] = read_object(path)
        stated = stated.get("image_processor", stated)
        if stated.get("do_normalize") is False:
            return (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        try:
            mean, deviation = ([float(value) for value in stated[f"image_{what}"]] for what in ("mean", "std"))
            return (mean[0], mean[1], mean[2]), (deviation[0], deviation[1], deviation[2])
        except (KeyError, TypeError, ValueError, IndexError):
            raise InputError(
                f"{path}: image_mean, image_std: three numbers each are due; fetch the file again"
            ) from None
