"""Fewer channels: the directions on which cosines lose least."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from dhr.core.errors import InputError
from dhr.uss.pca import Basis, Mean, SecondMoment, mean_cosine_change


def maps(count: int = 3, rank: int = 6, *, noise: float = 0.05, offset: float = 1.0) -> list[Tensor]:
    """(20,h,w) of several sizes, close to a space of `rank` dimensions, away from the origin."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(20, rank, generator=generator)
    shift = offset * torch.randn(20, 1, generator=generator)
    made = []
    for number in range(count):
        height, width = 7 + number, 9 - number
        values = directions @ torch.randn(rank, height * width, generator=generator) + shift
        made.append((values + noise * torch.randn(values.shape, generator=generator)).reshape(20, height, width))
    return made


def basis_of(made: list[Tensor], components: int, mean: Tensor | None = None) -> Basis:
    moment = SecondMoment(20, mean)
    for each in made:
        moment.add(each)
    return moment.basis(components)


def test_the_directions_are_those_of_the_singular_value_decomposition() -> None:
    made = maps()
    rows = np.concatenate([each.flatten(1).T.double().numpy() for each in made])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    _, values, right = np.linalg.svd(rows, full_matrices=False)
    basis = basis_of(made, 5)
    for number in range(5):
        expected = right[number] * np.sign(right[number][np.abs(right[number]).argmax()])
        np.testing.assert_allclose(basis.directions[:, number], expected, atol=1e-6)
    np.testing.assert_allclose(basis.energy, (values**2 / (values**2).sum())[:5], rtol=1e-5)


def test_projection_is_a_product_with_the_directions() -> None:
    made = maps()
    basis = basis_of(made, 4)
    projected = basis.project(made[0].half())
    assert projected.shape == (4, 7, 9)
    expected = made[0].half().float().flatten(1).T @ basis.directions
    torch.testing.assert_close(projected.flatten(1).T, expected)


def test_all_directions_keep_every_cosine() -> None:
    made = maps()
    assert mean_cosine_change(made[0], basis_of(made, 20)) < 1e-6
    assert float(basis_of(made, 20).energy.sum()) == pytest.approx(1, abs=1e-5)


def test_fewer_directions_change_cosines_more() -> None:
    made = maps()
    changes = [mean_cosine_change(made[0], basis_of(made, components)) for components in (10, 7, 4, 2, 1)]
    assert changes == sorted(changes) and changes[1] < 1e-3 < changes[2]


def test_subtracting_the_mean_would_change_cosines_however_many_are_kept() -> None:
    made = maps(offset=3.0)
    rows = torch.cat([each.flatten(1) for each in made], 1)
    centred = made[0] - rows.mean(1)[:, None, None]
    everything = Basis(torch.eye(20), torch.ones(20) / 20)
    full = mean_cosine_change(made[0], everything)
    unit = [torch.nn.functional.normalize(each.flatten(1), dim=0) for each in (made[0], centred)]
    moved = float((unit[0].T @ unit[0] - unit[1].T @ unit[1]).abs().mean())
    assert full < 1e-6 and moved > 0.3 > 0.01 > mean_cosine_change(made[0], basis_of(made, 7))


def mean_of(made: list[Tensor]) -> Tensor:
    mean = Mean(20)
    for each in made:
        mean.add(each)
    return mean.value()


def test_the_mean_is_that_of_all_cells() -> None:
    made = maps()
    rows = np.concatenate([each.flatten(1).double().numpy() for each in made], axis=1)
    np.testing.assert_allclose(mean_of(made), rows.mean(1), rtol=1e-5)


@pytest.mark.parametrize(("components", "change"), [(20, 1e-6), (7, 0.01)])
def test_centred_features_have_the_cosines_around_the_mean(components: int, change: float) -> None:
    made = maps(offset=3.0)
    centred = [each - mean_of(made)[:, None, None] for each in made]
    basis = basis_of(made, components, mean_of(made))
    expected, found = (
        torch.nn.functional.normalize(each.flatten(1), dim=0) for each in (centred[0], basis.project(made[0]))
    )
    difference = float((expected.T @ expected - found.T @ found).abs().mean())
    assert difference < change and mean_cosine_change(made[0], basis) == pytest.approx(difference, abs=1e-6)
    torch.testing.assert_close(basis.directions, basis_of(centred, components).directions, atol=1e-4, rtol=0)
    raw = torch.nn.functional.normalize(made[0].flatten(1), dim=0)
    assert float((raw.T @ raw).mean()) > 0.4 > 0.2 > abs(float((found.T @ found).mean()))


def test_how_the_cells_come_does_not_matter() -> None:
    made = maps()
    whole = torch.cat([each.flatten(1) for each in made], 1)[:, None]
    torch.testing.assert_close(basis_of([whole], 5).directions, basis_of(made, 5).directions, atol=1e-5, rtol=0)
    assert torch.equal(basis_of(made, 5).directions, basis_of(made, 5).directions)


def test_a_centred_basis_lies_on_disk_with_its_mean(tmp_path: Path) -> None:
    made, path = maps(), tmp_path / "colour_components.safetensors"
    basis = basis_of(made, 5, mean_of(made))
    basis.save(path)
    assert torch.equal(Basis.load(path).project(made[0]), basis.project(made[0]))
    assert Basis.load(path).digest == basis.digest != Basis(basis.directions, basis.energy).digest


def test_it_lies_on_disk_whole_or_not_at_all(tmp_path: Path) -> None:
    basis, path = basis_of(maps(), 5), tmp_path / "colour_components.safetensors"
    basis.save(path)
    loaded = Basis.load(path)
    assert torch.equal(loaded.directions, basis.directions) and torch.equal(loaded.energy, basis.energy)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(InputError, match=r"colour_components\.safetensors: no whole basis .*overwrite=true"):
        Basis.load(path)
    with pytest.raises(InputError, match="no whole basis"):
        Basis.load(tmp_path / "none.safetensors")


def test_what_cannot_be_fitted_is_said() -> None:
    with pytest.raises(InputError, match=r"uss\.components: 21: the model gives 20"):
        basis_of(maps(), 21)
    with pytest.raises(InputError, match=r"uss\.components: all features are zero"):
        basis_of([torch.zeros(20, 3, 3)], 2)
    with pytest.raises(InputError, match=r"uss\.centred: all features are the same"):
        basis_of([torch.ones(20, 3, 3)], 2, torch.ones(20))
