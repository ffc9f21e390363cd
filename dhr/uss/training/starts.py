"""Where cluster probes start: k-means on the sphere, several times, the best of which counts."""

import torch
from torch import Tensor

from dhr.numerics import unit_vectors

STARTS, ROUNDS = 10, 20  # one start ends in a poor optimum every other time; clusters settle in some ten rounds


def spherical_kmeans(vectors: Tensor, count: int, *, seed: int) -> Tensor:
    """Unit centres (count,D) that make the mean of the largest cosine of each vector (N,D) to a centre large.

    k-means++ seeding (Arthur and Vassilvitskii, 2007) and Lloyd's rounds (Dhillon and Modha, 2001), `STARTS` times.
    A probe that started anywhere could be won by no vector, or share a class with another one, whatever the features
    are: then the comparison of two heads would be one of luck.
    """
    generator = torch.Generator().manual_seed(seed)
    unit = unit_vectors(vectors, dim=1).cpu()
    found = [_settled(unit, _seeded(unit, count, generator)) for _ in range(STARTS)]
    return max(found, key=lambda centres: float((unit @ centres.T).amax(1).mean()))


def _seeded(unit: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Vectors far from each other: each is drawn with its squared distance to those before as weight."""
    first = int(torch.randint(len(unit), (), generator=generator))
    chosen, distance = [first], 1 - unit @ unit[first]
    while len(chosen) < count:
        weights = distance.clamp_min(0) + 1e-12  # all may be alike; 1 - cos is half the squared distance
        chosen.append(int(torch.multinomial(weights, 1, generator=generator)))
        distance = torch.minimum(distance, 1 - unit @ unit[chosen[-1]])
    return unit[chosen]


def _settled(unit: Tensor, centres: Tensor) -> Tensor:
    """Centres after some rounds; one without a vector stays where it is."""
    for _ in range(ROUNDS):
        own = (unit @ centres.T).argmax(1)
        sums = torch.zeros_like(centres).index_add_(0, own, unit)
        centres = torch.where(sums.norm(dim=1, keepdim=True) > 0, unit_vectors(sums, dim=1), centres)
    return centres
