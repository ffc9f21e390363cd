"""Features without their mean, and in fewer channels: projected on the directions that carry most of their energy."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from dhr.core.errors import InputError
from dhr.core.numerics import unit_vectors
from dhr.disk.atomic import write_atomically

KEYS = {"directions", "energy"}


@dataclass(frozen=True)
class Basis:
    """What features are projected on.

    Attributes:
        directions: (D,C) float32, orthonormal.
        energy: (C) the share of the energy that each of them carries, falling.
        mean: (D) what is subtracted from the features first; None for nothing.
    """

    directions: Tensor
    energy: Tensor
    mean: Tensor | None = None

    def project(self, features: Tensor) -> Tensor:
        """(D,h,w) -> (C,h,w) float32."""
        return torch.einsum("dhw,dc->chw", without(self.mean, features.float()), self.directions.to(features.device))

    @property
    def digest(self) -> str:
        """Digest of directions and mean, which determine the features."""
        parts = [self.directions] if self.mean is None else [self.directions, self.mean]
        content = b"".join(part.contiguous().numpy().tobytes() for part in parts)
        return hashlib.blake2b(content, digest_size=16).hexdigest()

    def save(self, path: Path) -> None:
        """Writes it atomically."""
        parts = {"directions": self.directions, "energy": self.energy, "mean": self.mean}
        write_atomically(path, save({name: part.contiguous() for name, part in parts.items() if part is not None}))

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
        if set(parts) - {"mean"} != KEYS or parts["directions"].ndim != 2:
            raise InputError(f"{path}: holds {', '.join(sorted(parts))}, no basis; overwrite=true makes it anew")
        return cls(**parts)


def without(mean: Tensor | None, features: Tensor) -> Tensor:
    """(D,h,w) less the mean (D) of every cell."""
    return features if mean is None else features - mean.to(features)[:, None, None]


class Mean:
    """Mean feature vector, accumulated in float64 in one pass.

    Args:
        dim: D.

    Attributes:
        total: (D+1) the sums of the channels, and the number of cells.
    """

    def __init__(self, dim: int) -> None:
        self.total = torch.zeros(dim + 1, dtype=torch.float64)

    def add(self, features: Tensor) -> None:
        """Counts every cell of (D,h,w) once."""
        cells = features.flatten(1).double()
        self.total += torch.cat([cells.sum(1), cells.new_tensor([cells.shape[1]])]).cpu()

    def value(self) -> Tensor:
        """(D) float32."""
        return (self.total[:-1] / self.total[-1]).float()


class SecondMoment:
    """Second moment of the unit feature vectors, accumulated in float64 in one pass: X^T X, (D,D).

    DHR compares features by their cosine, which depends on the angle at the origin. So nothing is centred: the leading
    eigenvectors of the second moment are those on which the unit vectors lose least (Eckart and Young, 1936), and
    projecting on them is linear and fixes the origin. Subtracting the mean first, as in textbook PCA, would change
    every cosine however many components were kept. Vectors are taken at unit length because only their direction
    counts later. `benchmarks/uss_pca.py` measures the choices. Where the mean is taken away on purpose
    (`uss.centred`), because the tokens share so much that all their cosines are near 1, it moves the origin, and the
    cosines that are kept are those at the new one.

    Args:
        dim: D.
        mean: (D) the new origin; None for the old one.
    """

    def __init__(self, dim: int, mean: Tensor | None = None) -> None:
        self.total = torch.zeros(dim, dim, dtype=torch.float64)
        self.mean = mean

    def add(self, features: Tensor) -> None:
        """Counts every cell of (D,h,w) once; the sum does not depend on the grid it is cut into."""
        cells = unit_vectors(without(self.mean, features.double()).flatten(1), dim=0)
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
            where, what = ("components", "zero") if self.mean is None else ("centred", "the same")
            raise InputError(f"uss.{where}: all features are {what}; is this the right model? or leave it out")
        energy, vectors = energy.flip(0)[:components], vectors.flip(1)[:, :components]
        largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
        share = energy.clamp_min(0) / self.total.trace()
        return Basis((vectors * largest.sign()).float(), share.float(), self.mean)


def mean_cosine_change(features: Tensor, basis: Basis) -> float:
    """Mean absolute change of the cosine between any two cells of (D,h,w) by the projection, in [0,2].

    The cosines before are those at the origin of the basis.
    """
    full = unit_vectors(without(basis.mean, features.float()).flatten(1), dim=0)
    reduced = unit_vectors(basis.project(features).flatten(1), dim=0)
    return float((full.T @ full - reduced.T @ reduced).abs().mean())
