"""The walk against powers of the dense matrix, and its lines against those of the public code."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dhr.wss.random_walk import RandomWalk, affinity, chebyshev_coefficients, half_disk, line, pairs

SIZE = (6, 7)


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def dense(edges: np.ndarray, walk: RandomWalk) -> np.ndarray:
    """(N,N) matrix of one step: row i says how much of every cell j the new score of cell i consists of."""
    cells = list(itertools.product(*map(range, edges.shape)))
    matrix = np.zeros((len(cells), len(cells)))
    for (i, (y, x)), (j, (v, u)) in itertools.product(enumerate(cells), repeat=2):
        down, right = v - y, u - x
        if down * down + right * right >= walk.radius**2:
            continue
        between = [
            edges[y + a, x + b]
            for a in range(min(0, down), max(0, down) + 1)
            for b in range(min(0, right), max(0, right) + 1)
            if (down * b - right * a) ** 2 < max(down * down + right * right, 1)
        ]
        matrix[i, j] = 1.0 if i == j else (1 - max(between)) ** walk.power
    return matrix / matrix.sum(1, keepdims=True)


@pytest.mark.parametrize("size", [SIZE, (1, 5), (4, 1), (1, 1)])
@pytest.mark.parametrize(
    "walk", [RandomWalk(radius=2, power=1, doublings=0), RandomWalk(radius=3, power=2, doublings=3), RandomWalk()]
)
def test_it_is_a_power_of_the_dense_matrix(walk: RandomWalk, size: tuple[int, int]) -> None:
    edges, scores = drawn(1, 1, 1, *size) / 2, drawn(2, 1, 3, *size)
    matrix = np.linalg.matrix_power(dense(edges[0, 0].numpy(), walk), 2**walk.doublings)
    expected = (matrix @ scores[0].reshape(3, -1).numpy().T).T.reshape(3, *size)
    np.testing.assert_allclose(walk(scores, edges)[0].numpy(), expected, rtol=0, atol=3e-6)
    np.testing.assert_allclose(walk(scores.float(), edges.float())[0].numpy(), expected, rtol=0, atol=1e-4)


def test_images_do_not_meet_and_inputs_stay() -> None:
    edges, scores = drawn(3, 2, 1, *SIZE), drawn(4, 2, 2, *SIZE)
    kept = edges.clone(), scores.clone()
    walked = RandomWalk()(scores, edges)
    torch.testing.assert_close(RandomWalk()(scores[1:], edges[1:]), walked[1:])
    torch.testing.assert_close(RandomWalk()(torch.ones_like(scores), edges), torch.ones_like(scores))
    assert torch.equal(edges, kept[0]) and torch.equal(scores, kept[1])


def test_a_closed_edge_lets_nothing_through_and_a_region_becomes_even() -> None:
    edges, scores = torch.zeros(1, 1, 9, 9), torch.zeros(1, 1, 9, 9)
    edges[..., 4] = 1
    scores[..., 2, 1] = 1
    walked = RandomWalk(radius=5)(scores, edges)[0, 0]
    assert float(walked[:, 5:].abs().sum()) == 0
    inside = walked[:, :4]  # after 256 steps every cell has the mean, whatever its place
    torch.testing.assert_close(inside, inside.mean().expand_as(inside), rtol=1e-3, atol=0)
    assert 1 / 36 / 2 < float(inside.mean()) < 1 / 36 * 2


@pytest.mark.parametrize("power", [1, 2, 3, 16, 256, 4096])
def test_a_power_is_its_sum_of_chebyshev_polynomials(power: int) -> None:
    places = np.linspace(-1, 1, 201)
    found = np.polynomial.chebyshev.chebval(places, chebyshev_coefficients(power))
    np.testing.assert_allclose(found, places**power, rtol=0, atol=3e-6)


class Largest(TorchDispatchMode):
    """Sees how many numbers the largest tensor has that anything makes."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        self.numbers = max([self.numbers, *(each.numel() for each in tree_leaves(made) if isinstance(each, Tensor))])
        return made


def test_there_is_no_matrix() -> None:
    with Largest() as largest:
        RandomWalk(doublings=1)(torch.ones(1, 2, 64, 64), torch.zeros(1, 1, 64, 64))
    assert 64 * 64 < largest.numbers <= 64 * 64 * len(line((3, 3)))  # the maps along the longest line


def test_steps_lines_and_pairs() -> None:
    steps = half_disk(3)
    assert len(steps) == len({*steps}) == 12  # 25 cells nearer than 3, itself left out, one of each pair
    assert not any((-down, -right) in steps for down, right in steps)
    assert len(half_disk(5)) == 34 and len(half_disk(10)) == 152
    assert set(line((0, 3))) == {(0, 0), (0, 1), (0, 2), (0, 3)}
    assert set(line((2, -1))) == {(0, 0), (1, 0), (1, -1), (2, -1), (0, -1), (2, 0)}
    assert [affinity(torch.zeros(3, 3), step).numel() for step in half_disk(2)] == [6, 4, 6, 4]
    assert pairs(torch.zeros(2, 3), (4, -1), (4, -1)).shape == (0, 2)
    assert pairs(torch.zeros(2, 3), (1, 5), (0, 3)).shape == (1, 0)
