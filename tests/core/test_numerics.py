"""The small risky operations: equal to loops, and their edge cases decided."""

import numpy as np
import pytest
import reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dhr.core.numerics import at_places, masked_mean, resize, resize_labels, to_unit_range, unit_vectors

EVERYWHERE = torch.ones(1, 1, 4, 5, dtype=torch.bool)
NOWHERE = ~EVERYWHERE


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", [(9, 11), (3, 2), (4, 10), (1, 1)])
def test_resize_is_linear_between_cell_centres(size: tuple[int, int]) -> None:
    values = noise(2, 3, 4, 5)
    expected = [[reference.bilinear(channel.numpy(), size) for channel in image] for image in values]
    torch.testing.assert_close(resize(values, size), torch.tensor(np.array(expected)).float(), atol=1e-5, rtol=0)


def test_resize_to_the_same_size_is_the_map_itself() -> None:
    values = noise(1, 2, 4, 5)
    assert resize(values, (4, 5)) is values


def test_resize_with_aligned_corners_keeps_the_corners() -> None:
    values = noise(1, 1, 4, 5)
    wide = resize(values, (7, 9), align_corners=True)
    torch.testing.assert_close(wide[..., ::6, ::8], values[..., ::3, ::4])
    torch.testing.assert_close(wide[..., ::2, ::2], values)


def test_values_at_places() -> None:
    values, rows, columns = noise(2, 3, 4, 5), [-1.0, 0.0, 0.25, 2.5, 3.0, 7.0], [-0.5, 1.75, 4.0, 4.4]
    found = at_places(values, torch.tensor(rows), torch.tensor(columns))
    assert found.shape == (2, 3, 6, 4)
    for i, j in reference.places((6, 4)):
        y, x = min(max(rows[i], 0.0), 3.0), min(max(columns[j], 0.0), 4.0)
        near = sum(
            max(0.0, 1 - abs(y - row)) * max(0.0, 1 - abs(x - column)) * values[:, :, row, column]
            for row, column in reference.places((4, 5))
        )
        torch.testing.assert_close(found[:, :, i, j], near)
    same = at_places(values, torch.arange(4.0), torch.arange(5.0))
    assert torch.equal(same, values)


@pytest.mark.parametrize("size", [(3, 4), (12, 10), (6, 7)])
def test_labels_are_taken_at_cell_centres(size: tuple[int, int]) -> None:
    labels = torch.arange(42, dtype=torch.uint8).view(1, 6, 7) + 200
    resized = resize_labels(labels, size)
    assert resized.dtype == torch.uint8
    for y, x in reference.places(size):
        centre = int((y + 0.5) * 6 / size[0]), int((x + 0.5) * 7 / size[1])
        assert resized[0, y, x] == labels[0, centre[0], centre[1]]


@pytest.mark.parametrize("magnitude", [1e-8, 1.0, 1e6])
def test_unit_range_equals_the_loop_at_any_magnitude(magnitude: float) -> None:
    values = noise(2, 3, 4, 5) * magnitude
    where = noise(2, 3, 4, 5, seed=1) > -0.5
    expected = [
        [reference.unit_range(one.double().numpy(), on.numpy()) for one, on in zip(*pair, strict=True)]
        for pair in zip(values, where, strict=True)
    ]
    torch.testing.assert_close(to_unit_range(values, where), torch.tensor(np.array(expected)).float())


@pytest.mark.parametrize("value", [0.0, 1.0, -3.7, 1e-9, 1e9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_constant_map_has_no_preference(value: float, dtype: torch.dtype) -> None:
    where = EVERYWHERE.clone()
    where[..., 0] = False
    scaled = to_unit_range(torch.full((1, 2, 4, 5), value).to(dtype).clamp(-6e4, 6e4), where)
    torch.testing.assert_close(scaled, where.expand(1, 2, 4, 5).to(dtype))


def test_rounding_noise_counts_as_constant() -> None:
    values = 0.7 + 1e-7 * noise(1, 1, 4, 5)
    assert bool((to_unit_range(values, EVERYWHERE) == 1).all())


def test_a_small_but_real_span_does_not() -> None:
    values = 0.7 + 1e-4 * noise(1, 1, 4, 5)
    scaled = to_unit_range(values, EVERYWHERE)
    assert scaled.min() == 0
    assert scaled.max() == 1
    assert 0.05 < scaled.std() < 0.6


def test_a_map_without_a_cell_is_zero() -> None:
    assert bool((to_unit_range(noise(1, 2, 4, 5), NOWHERE) == 0).all())


def test_a_map_of_one_cell_is_one() -> None:
    assert to_unit_range(torch.tensor([[[[-4.0]]]]), torch.ones(1, 1, 1, 1, dtype=torch.bool)).item() == 1


def test_values_off_the_cells_do_not_matter() -> None:
    values, where = noise(1, 2, 4, 5), EVERYWHERE.clone()
    where[..., 2:, :] = False
    spoiled = values.clone()
    spoiled[..., 2:, :] = 1e9
    torch.testing.assert_close(to_unit_range(spoiled, where), to_unit_range(values, where))


@settings(max_examples=50, deadline=None)
@given(
    values=st.lists(st.floats(-100, 100, width=32), min_size=6, max_size=6),
    shift=st.floats(-50, 50),
    factor=st.floats(0.1, 50),
)
def test_half_precision_and_affine_changes(values: list[float], shift: float, factor: float) -> None:
    maps = torch.tensor(values).view(1, 1, 2, 3)
    where = torch.ones(1, 1, 2, 3, dtype=torch.bool)
    half = to_unit_range(maps.half(), where)
    assert bool(torch.isfinite(half).all())
    assert bool(((half >= 0) & (half <= 1)).all())
    if maps.max() - maps.min() > 1:
        torch.testing.assert_close(
            to_unit_range(maps * factor + shift, where), to_unit_range(maps, where), atol=1e-3, rtol=0
        )


def test_unit_vectors() -> None:
    values = noise(2, 6, 3, 3)
    values[0, :, 1, 2] = 0
    unit = unit_vectors(values, dim=1)
    length = unit.norm(dim=1)
    assert length[0, 1, 2] == 0
    length[0, 1, 2] = 1
    torch.testing.assert_close(length, torch.ones(2, 3, 3))
    torch.testing.assert_close(unit * values.norm(dim=1, keepdim=True), values)


def test_masked_mean() -> None:
    values, where = noise(3, 2, 4, 5), noise(3, 1, 4, 5, seed=2) > 0
    where[2] = False
    mean = masked_mean(values, where)
    for image in range(2):
        for channel in range(2):
            picked = [values[image, channel, y, x].item() for y, x in reference.places((4, 5)) if where[image, 0, y, x]]
            assert mean[image, channel].item() == pytest.approx(sum(picked) / len(picked), abs=1e-6)
    assert bool((mean[2] == 0).all())
