"""Fewer channels: features projected on the directions that carry most of their energy."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from dhr.artifacts import write_atomically
from dhr.errors import InputError
from dhr.numerics import unit_vectors

KEYS = {"directions", "energy"}


@dataclass(frozen=True)
class Basis:
    """Orthonormal `directions` (D,C) float32, and the share of the `energy` that each of them carries (C), falling."""

    directions: Tensor
    energy: Tensor

    def project(self, features: Tensor) -> Tensor:
        """(D,h,w) -> (C,h,w) float32."""
        return torch.einsum("dhw,dc->chw", features.float(), self.directions.to(features.device))

    @property
    def digest(self) -> str:
        """Of the directions; other directions give other features."""
        return hashlib.blake2b(self.directions.contiguous().numpy().tobytes(), digest_size=16).hexdigest()

    def save(self, path: Path) -> None:
        """Writes it atomically."""
        write_atomically(path, save({"directions": self.directions.contiguous(), "energy": self.energy.contiguous()}))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads what `save` wrote.

        Raises:
            InputError: missing or not whole.
        """
        try:
            parts = load_file(path)
        except (SafetensorError, OSError) as error:
            cure = "overwrite=true makes it and its features anew"
            raise InputError(f"{path}: no whole basis ({type(error).__name__}); {cure}") from None
        if set(parts) != KEYS or parts["directions"].ndim != 2:
            raise InputError(f"{path}: holds {', '.join(sorted(parts))}, no basis; overwrite=true makes it anew")
        return cls(**parts)


class Moment:
    """Second moment of the unit feature vectors, accumulated in float64 in one pass: X^T X, (D,D).

    DHR compares features by their cosine, which depends on the angle at the origin. So nothing is centred: the leading
    eigenvectors of the second moment are those on which the unit vectors lose least (Eckart and Young, 1936), and
    projecting on them is linear and fixes the origin. Subtracting the mean first, as in textbook PCA, would change
    every cosine however many components were kept. Vectors are taken at unit length because only their direction
    counts later. `benchmarks/uss_pca.py` measures the choices.

    Args:
        dim: D.
    """

    def __init__(self, dim: int) -> None:
        self.total = torch.zeros(dim, dim, dtype=torch.float64)

    def add(self, features: Tensor) -> None:
        """Counts every cell of (D,h,w) once; the sum does not depend on the grid it is cut into."""
        cells = unit_vectors(features.flatten(1).double(), dim=0)
        self.total += (cells @ cells.T).cpu()

    def basis(self, components: int) -> Basis:
        """The leading `components` directions; the largest entry of each is positive, so that they are always the same.

        Raises:
            InputError: there are fewer channels, or no feature differs from zero.
        """
        if components > len(self.total):
            raise InputError(f"uss.components: {components}: the model gives {len(self.total)}; use fewer, or null")
        energy, vectors = torch.linalg.eigh(self.total)
        if not energy[-1] > 0:
            raise InputError("uss.components: all features are zero; is this the right model? or use null")
        energy, vectors = energy.flip(0)[:components], vectors.flip(1)[:, :components]
        largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
        share = energy.clamp_min(0) / self.total.trace()
        return Basis((vectors * largest.sign()).float(), share.float())


def mean_cosine_change(features: Tensor, basis: Basis) -> float:
    """Mean absolute change of the cosine between any two cells of (D,h,w) by the projection, in [0,2]."""
    full = unit_vectors(features.flatten(1).float(), dim=0)
    reduced = unit_vectors(basis.project(features).flatten(1), dim=0)
    return float((full.T @ full - reduced.T @ reduced).abs().mean())
