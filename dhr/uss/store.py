"""Feature files of one split: <folder>/<id>.pt, an fp16 tensor (D,h,w), the form of the published downloads."""

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor

from dhr.artifacts import write_atomically
from dhr.errors import InputError


@dataclass(frozen=True)
class FeatureStore:
    """Reads and writes the features of one split.

    Attributes:
        folder: where the files lie.
        cure: how to get them, for messages.
    """

    folder: Path
    cure: str

    def path(self, id: str) -> Path:
        """File of one image."""
        return self.folder / f"{id}.pt"

    def write(self, id: str, features: Tensor) -> None:
        """Stores (D,h,w) as fp16, atomically."""
        buffer = io.BytesIO()
        torch.save(features.to(torch.float16).cpu().contiguous(), buffer)
        write_atomically(self.path(id), buffer.getvalue())

    def look(self, id: str) -> None:
        """Makes sure that the file of an image is there and whole, without reading its numbers.

        Raises:
            InputError: missing, truncated, or something else than a tensor of three axes.
        """
        # Only the archives that torch writes today can be mapped; a truncated one is none and is read as a whole.
        self._load(id, mapped=zipfile.is_zipfile(self.path(id)))

    def read(self, id: str) -> Tensor:
        """(D,h,w) fp16.

        Raises:
            InputError: missing, truncated, or something else than a finite tensor of three axes.
        """
        features = self._load(id, mapped=False)
        if not bool(torch.isfinite(features).all()):
            raise InputError(f"{self.path(id)}: holds NaN or infinity; delete it and {self.cure}")
        return features

    def _load(self, id: str, *, mapped: bool) -> Tensor:
        path = self.path(id)
        try:
            features = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
        except FileNotFoundError:
            raise InputError(f"{path}: these USS features are missing; {self.cure}") from None
        except (RuntimeError, EOFError, UnpicklingError, ValueError, OSError) as error:
            raise InputError(f"{path}: unreadable ({type(error).__name__}); delete it and {self.cure}") from None
        if not isinstance(features, Tensor) or features.ndim != 3:
            raise InputError(f"{path}: not a feature tensor (D,h,w); delete it and {self.cure}")
        return features
