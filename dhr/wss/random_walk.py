"""Random walk of class scores over an image whose edges hold them back (AffinityNet, IRN), without a matrix.

The public implementation builds the dense matrix of all N x N cells and squares it eight times. Here a step adds up
shifted maps, N numbers a neighbour, and 256 steps cost 78: a power of a matrix with eigenvalues in [-1,1] is a short
sum of its Chebyshev polynomials.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor

Step = tuple[int, int]  # cells down and to the right
HERE = (0, 0)
LEFT_OUT = 1e-6  # of the coefficients of a power, which sum to 1: about the rounding of float32 over all steps


@dataclass(frozen=True)
class RandomWalk:
    """How scores spread.

    Attributes:
        radius: cells; neighbours are nearer than this.
        power: of the affinities: the larger, the more even a faint edge holds back.
        doublings: 2 ** doublings steps are made.
    """

    radius: Annotated[int, Ge(2), Le(100)] = 5
    power: Annotated[float, Gt(0), Le(1000)] = 10.0
    doublings: Annotated[int, Ge(0), Le(20)] = 8

    def __call__(self, scores: Tensor, edges: Tensor) -> Tensor:
        """Scores after the walk.

        After a step a cell has the mean of its own score and those of its neighbours, weighted with
        affinity ** power, T = D^-1 A in the paper (IRN, eq. 9). The public code multiplies scores from the left with
        the transposed matrix, normalised over columns, which is the same. The affinity of two cells is 1 minus the
        largest edge on the line between them, that of a cell with itself is 1.

        Args:
            scores: (B,M,h,w).
            edges: (B,1,h,w) in [0,1].

        Returns:
            (B,M,h,w), in float32 to about 1e-4 of the largest score; within that a constant map stays as it is.
        """
        weights = {step: affinity(edges, step) ** self.power for step in half_disk(self.radius)}
        total = with_neighbours(torch.ones_like(edges), weights)
        return matrix_power(lambda maps: with_neighbours(maps, weights) / total, 2**self.doublings, scores)


def with_neighbours(maps: Tensor, weights: dict[Step, Tensor]) -> Tensor:
    """(B,M,h,w) maps plus, in every cell, the weighted maps of its neighbours; weights are those of `pairs`."""
    total = maps.clone()
    for step, weight in weights.items():
        pairs(total, step, HERE).addcmul_(weight, pairs(maps, step, step))
        pairs(total, step, step).addcmul_(weight, pairs(maps, step, HERE))
    return total


def matrix_power(multiply: Callable[[Tensor], Tensor], power: int, maps: Tensor) -> Tensor:
    """The matrix with which `multiply` multiplies, real eigenvalues in [-1,1], to the power of `power`, times maps."""
    first, second, *others = chebyshev_coefficients(power)
    before, now = maps, multiply(maps)  # T_0 and T_1 of the matrix, times the maps
    total = first * before + second * now
    for coefficient in others:
        before, now = now, 2 * multiply(now) - before
        total = total + coefficient * now if coefficient else total
    return total


@cache
def chebyshev_coefficients(power: int) -> tuple[float, ...]:
    """The numbers c of x ** power = sum_k c[k] T_k(x), as many as needed; they sum to 1, so that 1 stays 1.

    c[k] = 2 ** (1 - power) * binomial(power, (power - k) / 2) where the power minus k is even, half of it for k = 0;
    0 elsewhere. The degree grows with the root of the power.

    >>> chebyshev_coefficients(1), chebyshev_coefficients(2), len(chebyshev_coefficients(256))
    ((0.0, 1.0), (0.5, 0.0, 0.5), 79)
    """
    found, degree = [0.0] * (power % 2), power % 2
    while sum(found) < 1 - LEFT_OUT:
        above, below = (power + degree) / 2, (power - degree) / 2
        ways = math.lgamma(power + 1) - math.lgamma(above + 1) - math.lgamma(below + 1)
        found += [math.exp(ways - (power - (degree > 0)) * math.log(2)), 0.0]
        degree += 2
    return tuple(round(coefficient / sum(found), 12) for coefficient in found[:-1])


def affinity(edges: Tensor, step: Step) -> Tensor:
    """1 minus the largest of the edges (...,h,w) on the line between two cells, both ends included, see `pairs`."""
    return 1 - torch.stack([pairs(edges, step, cell) for cell in line(step)]).amax(0)


def pairs(maps: Tensor, step: Step, cell: Step) -> Tensor:
    """A view of maps (...,h,w) that has a number for each pair of cells which lie a step apart inside the map.

    Args:
        maps: (...,h,w).
        step: from the first cell of a pair to the second one; not upwards.
        cell: where the number is taken, from the first cell on: (0,0) is the first, `step` the second one.

    Returns:
        (...,h-|down|,w-|right|), empty where the step is longer than the map.

    >>> maps = torch.tensor([[1, 2, 3], [4, 5, 6]])
    >>> pairs(maps, (1, -1), (0, 0)).tolist(), pairs(maps, (1, -1), (1, -1)).tolist()
    ([[2, 3]], [[4, 5]])
    """
    (down, right), (top, left) = step, (cell[0], cell[1] + max(-step[1], 0))
    rows, columns = max(maps.shape[-2] - down, 0), max(maps.shape[-1] - abs(right), 0)
    return maps[..., top : top + rows, left : left + columns]


@cache
def half_disk(radius: int) -> tuple[Step, ...]:
    """Steps shorter than `radius`, one of each pair of opposite ones: to the right, or down."""
    reach = range(-radius + 1, radius)
    return tuple(
        (down, right)
        for down in range(radius)
        for right in reach
        if (down, right) > HERE and down * down + right * right < radius * radius
    )


@cache
def line(step: Step) -> tuple[Step, ...]:
    """Cells nearer than 1 to the line of a step, inside the box that it spans, both ends included."""
    down, right = step
    rows, columns = (range(min(0, end), max(0, end) + 1) for end in step)
    length = down * down + right * right
    return tuple((y, x) for y in rows for x in columns if (down * x - right * y) ** 2 < length)
