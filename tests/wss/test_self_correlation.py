"""Self-correlation maps are what the loops over cells say, and find an object of which a CAM shows a corner."""

import math

import pytest
import torch
from torch import Tensor

from dhr.wss.self_correlation import SelfCorrelation


def slow_shares(features: Tensor, on_image: Tensor, first_order: float, second_order: float) -> list[list[float]]:
    """Shares of one image (D,h,w), cell by cell."""
    cells = features.flatten(1).T.tolist()
    seen = on_image.flatten().tolist()
    count = len(cells)

    def cosine(i: int, j: int) -> float:
        if not (seen[i] and seen[j]):
            return 0.0
        dot = sum(a * b for a, b in zip(cells[i], cells[j], strict=True))
        value = dot / math.sqrt(sum(a * a for a in cells[i]) * sum(b * b for b in cells[j]))
        return value if value >= first_order else 0.0

    def columns(matrix: list[list[float]]) -> list[list[float]]:
        totals = [sum(row[j] for row in matrix) or 1.0 for j in range(count)]
        return [[row[j] / totals[j] for j in range(count)] for row in matrix]

    near = [[cosine(i, j) for j in range(count)] for i in range(count)]
    others = columns([[0.0 if i == j else near[i][j] for j in range(count)] for i in range(count)])
    twice = columns(
        [[sum(others[i][k] * others[k][j] for k in range(count)) for j in range(count)] for i in range(count)]
    )
    least = second_order / count
    direct = columns(near)
    return [
        [max(direct[i][j], twice[i][j] if twice[i][j] >= least else 0.0) for j in range(count)] for i in range(count)
    ]


def scaled(values: list[float], seen: list[bool]) -> list[float]:
    inside = [value for value, shown in zip(values, seen, strict=True) if shown]
    low, high = min(inside), max(inside)
    if low == high:
        return [float(shown and value > 0) for value, shown in zip(values, seen, strict=True)]
    return [(value - low) / (high - low) if shown else 0.0 for value, shown in zip(values, seen, strict=True)]


def slow_map(cam: Tensor, shares: list[list[float]], on_image: Tensor, rule: SelfCorrelation) -> list[float]:
    values, seen = cam.flatten().tolist(), on_image.flatten().tolist()
    count = len(values)

    def drawn_to(chosen: list[int]) -> list[float]:
        drawn = [sum(shares[i][j] for i in chosen) for j in range(count)]
        return scaled(drawn, seen) if chosen else [0.0] * count

    sure = drawn_to([i for i in range(count) if seen[i] and values[i] >= rule.foreground])
    none = drawn_to([i for i in range(count) if seen[i] and values[i] <= rule.background])
    return scaled([max(a - b, 0.0) for a, b in zip(sure, none, strict=True)], seen)


@pytest.mark.parametrize("rule", [SelfCorrelation(), SelfCorrelation(0.2, 1.0, 0.6, 0.2)], ids=["published", "other"])
@pytest.mark.parametrize("side", [5, 3])
def test_maps_are_those_of_loops(rule: SelfCorrelation, side: int) -> None:
    torch.manual_seed(side)
    features = torch.randn(2, 4, 4, 5).double() + 0.3
    cams = torch.rand(2, 3, 4, 5).double() ** 3
    on_image = torch.zeros(2, 4, 5, dtype=torch.bool)
    on_image[0], on_image[1, 1:, :side] = True, True
    shares = rule.shares(features, on_image)
    maps = rule.maps(cams, features, on_image)
    for image in range(2):
        slow = slow_shares(features[image], on_image[image], rule.first_order, rule.second_order)
        torch.testing.assert_close(shares[image], torch.tensor(slow), rtol=1e-5, atol=1e-6)
        for tag in range(3):
            due = slow_map(cams[image, tag], slow, on_image[image], rule)
            torch.testing.assert_close(
                maps[image, tag].flatten(), torch.tensor(due, dtype=maps.dtype), rtol=1e-4, atol=1e-5
            )


def test_a_corner_becomes_the_object() -> None:
    """Left half and right half look different; the CAM shows two cells of the left one."""
    features = torch.zeros(1, 2, 4, 6)
    features[0, 0, :, :3], features[0, 1, :, 3:] = 1.0, 1.0
    cam = torch.zeros(1, 2, 4, 6)
    cam[0, 0, 0, :2] = 1.0
    maps = SelfCorrelation().maps(cam, features, torch.ones(1, 4, 6, dtype=torch.bool))
    assert maps[0, 0, :, :3].min() > 0.9 and not maps[0, 0, :, 3:].any()
    assert not maps[0, 1].any()  # a class without a cell stays without one


def test_nothing_is_learnt_from_padding() -> None:
    torch.manual_seed(0)
    features, cam = torch.randn(1, 3, 4, 4), torch.rand(1, 1, 4, 4)
    on_image = torch.ones(1, 4, 4, dtype=torch.bool)
    on_image[:, :, 3] = False
    maps = SelfCorrelation().maps(cam, features, on_image)
    features[..., 3], cam[..., 3] = 7.0, 1.0
    assert torch.equal(SelfCorrelation().maps(cam, features, on_image), maps) and not maps[..., 3].any()
