"""Pictures of features: like colours for like features, whatever the features are."""

from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
import torch
from report_pages import make_run, read
from safetensors.torch import save_file
from torch import Tensor

from dhr.core.errors import InputError
from dhr.disk.layout import RunFolder
from dhr.evaluation.feature_pictures import (
    CLUSTERS,
    GREY,
    cluster_colours,
    cluster_maps,
    feature_colours,
    feature_pictures,
    over_image,
    probes_beside,
)
from dhr.evaluation.gallery import load_gallery, save_gallery
from dhr.page.report import write_report


def groups(
    *sizes: tuple[int, int], kinds: int = 4, dim: int = 16, noise: float = 0.02
) -> tuple[list[Tensor], list[np.ndarray]]:
    """Maps whose cells are noisy copies of a few vectors, and which copy each cell is; all kinds in every map."""
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(kinds, dim, generator=generator)
    maps, owners = [], []
    for height, width in sizes:
        owner = torch.arange(height * width).reshape(height, width) * kinds // (height * width)
        values = vectors[owner].permute(2, 0, 1) + noise * torch.randn(dim, height, width, generator=generator)
        maps.append(values * (1 + torch.rand(1, height, width, generator=generator)))  # length does not count
        owners.append(owner.numpy())
    return maps, owners


def test_like_features_have_like_colours_in_all_pictures() -> None:
    maps, owners = groups((8, 8), (12, 4))
    pictures = feature_colours(maps)
    assert [each.shape for each in pictures] == [(8, 8, 3), (12, 4, 3)]
    assert all(each.dtype == np.uint8 for each in pictures)
    colours = np.concatenate([each.reshape(-1, 3) for each in pictures]).astype(float)
    owner = np.concatenate([each.ravel() for each in owners])
    means = np.stack([colours[owner == kind].mean(0) for kind in range(4)])
    assert max(np.abs(colours[owner == kind] - means[kind]).max() for kind in range(4)) < 40
    assert min(np.abs(means[a] - means[b]).max() for a, b in permutations(range(4), 2)) > 100


def test_the_directions_are_the_principal_components() -> None:
    """Against a singular value decomposition; the middle of the range is not cut off by the percentiles."""
    values = torch.randn(9, 20, 20, generator=torch.Generator().manual_seed(0))
    unit = (values / values.norm(dim=0)).double().flatten(1).T.numpy()
    centred = unit - unit.mean(0)
    _, _, right = np.linalg.svd(centred, full_matrices=False)
    found = feature_colours([values])[0].reshape(-1, 3).astype(float)
    for channel in range(3):
        place = centred @ right[channel] * np.sign(right[channel][np.abs(right[channel]).argmax()])
        inner = (found[:, channel] > 0) & (found[:, channel] < 255)
        assert np.corrcoef(place[inner], found[inner, channel])[0, 1] > 0.9999


def test_a_few_odd_cells_do_not_fade_the_others() -> None:
    maps, owners = groups((20, 20))
    maps[0][:, 0, 0] = 100 * torch.randn(16, generator=torch.Generator().manual_seed(1))
    colours = feature_colours(maps)[0].astype(float)
    means = np.stack([colours[owners[0] == kind].mean(0) for kind in range(4)])
    assert min(np.abs(means[a] - means[b]).max() for a, b in permutations(range(4), 2)) > 80


@pytest.mark.parametrize("value", [0.0, 1.0, -3.0])
def test_a_constant_map_is_grey(value: float) -> None:
    assert (feature_colours([torch.full((5, 3, 4), value), torch.full((5, 2, 2), value)])[0] == GREY).all()


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_few_channels(dim: int) -> None:
    values = torch.randn(dim, 9, 9, generator=torch.Generator().manual_seed(0))
    colours = feature_colours([values])[0]
    # Of one channel only the sign has a direction; two lie on a circle.
    assert [np.ptp(colours[..., channel]) > 0 for channel in range(3)] == [True, dim > 1, dim > 2]
    assert all((colours[..., channel] == GREY).all() for channel in range(dim, 3))


def test_one_cell_that_differs_is_seen() -> None:
    values = torch.ones(4, 20, 20)
    values[0, 3, 3] = -1
    colours = feature_colours([values])[0]
    assert (colours[3, 3] != colours[0, 0]).any() and len(np.unique(colours.reshape(-1, 3), axis=0)) == 2


def test_clusters_are_the_groups() -> None:
    maps, owners = groups((10, 12), (7, 9), kinds=CLUSTERS)
    found = cluster_maps(maps, None)
    pairs = {
        pair for each, owner in zip(found, owners, strict=True) for pair in zip(each.flat, owner.flat, strict=True)
    }
    assert len(pairs) == CLUSTERS, "one to one, and the same in both maps"
    again = cluster_maps(maps, None)
    assert all((a == b).all() for a, b in zip(found, again, strict=True))


def test_probes_decide_by_cosine() -> None:
    maps, owners = groups((6, 6))
    probes = torch.stack([maps[0].flatten(1)[:, (owners[0] == kind).ravel()].mean(1) * 10**kind for kind in range(4)])
    assert (cluster_maps(maps, probes)[0] == owners[0]).all()


@pytest.mark.parametrize("shape", [(3, 1, 1), (3, 4, 4)])
def test_fewer_different_cells_than_clusters(shape: tuple[int, int, int]) -> None:
    assert (cluster_maps([torch.ones(shape)], None)[0] == 0).all()
    values = torch.ones(3, 4, 4)
    values[0, :, 2:] = -1
    assert len(np.unique(cluster_maps([values], None)[0])) == 2


def test_clusters_have_colours_of_their_own() -> None:
    colours = cluster_colours(np.arange(200).reshape(10, 20))
    assert colours.shape == (10, 20, 3) and len(np.unique(colours.reshape(-1, 3), axis=0)) > 190
    first = colours.reshape(-1, 3)[:CLUSTERS].astype(int)
    assert min(np.abs(first[a] - first[b]).max() for a, b in permutations(range(CLUSTERS), 2)) > 50


@pytest.mark.parametrize("size", [(7, 9), (40, 33), (3, 4), (2, 2)])
def test_cells_become_blocks_of_the_image(size: tuple[int, int]) -> None:
    cells = np.arange(12, dtype=np.uint8).reshape(3, 4)[..., None].repeat(3, 2)
    found = over_image(cells, size)
    assert found.shape == (*size, 3)
    for row, column in product(range(size[0]), range(size[1])):
        assert (found[row, column] == cells[row * 3 // size[0], column * 4 // size[1]]).all()


def test_probes_lie_beside_the_weights(tmp_path: Path) -> None:
    weights, probes = tmp_path / "CAUSE_Toy.pt", torch.rand(5, 9)
    assert probes_beside(None) is None and probes_beside(str(weights)) is None
    file = tmp_path / "CAUSE_Toy_probes.safetensors"
    save_file({"probes": probes}, file)
    found = probes_beside(str(weights))
    assert found is not None and torch.equal(found, probes)
    save_file({"other": probes}, file)
    with pytest.raises(InputError, match=r"CAUSE_Toy_probes\.safetensors: holds no probes \(C,D\); delete it"):
        probes_beside(str(weights))
    file.write_bytes(b"half")
    with pytest.raises(InputError, match=r"CAUSE_Toy_probes\.safetensors: unreadable .*; delete it"):
        probes_beside(str(weights))


def test_the_report_shows_them_beside_the_image(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    path = RunFolder(run).gallery / "scene_0.npz"
    stored = load_gallery(path)
    pictures = feature_pictures([groups((6, 8))[0][0]], [stored["image"].shape[:2]], None)[0]
    save_gallery(path, **{name: array for name, array in stored.items() if name != "tags"}, **pictures)
    again = load_gallery(path)
    assert all((again[name] == pictures[name]).all() for name in ("features", "clusters"))
    with pytest.raises(InputError, match=r"features: uint8 \(24, 31, 3\): has to be uint8 \(24, 32, 3\)"):
        save_gallery(path, image=stored["image"], features=pictures["features"][:, 1:])
    with pytest.raises(InputError, match=r"features: uint8 \(24, 32\): has to be"):
        save_gallery(path, image=stored["image"], features=pictures["features"][..., 0])
    page = read(write_report(run))
    images = [str(attributes["alt"]) for tag, attributes in page.elements if tag == "img"]
    assert [alt for alt in images if alt.endswith("scene_0")][:3] == [
        "image scene_0", "USS features of scene_0", "USS clusters of scene_0",
    ]  # fmt: skip
    said = " ".join(page.words)
    assert "like colours are like features" in said and said.count("not saved") == 2, "scene_1 has none"


def test_without_features_the_report_says_nothing_of_them(tmp_path: Path) -> None:
    said = " ".join(read(write_report(make_run(tmp_path / "run"))).words)
    assert "USS features:" not in said and "not saved" not in said
