"""How clusters are scored against classes, and where their probes start."""

import itertools

import numpy as np
import pytest
import torch

from dhr.core.errors import InputError
from dhr.dataset.classes import load_classes
from dhr.uss.training.cluster_scores import hungarian_scores
from dhr.uss.training.probes import Classes, spherical_kmeans
from dhr.uss.training.settings import ProbeSettings


@pytest.mark.parametrize("clusters", [3, 4, 6])
def test_matching_is_the_best_of_all(clusters: int) -> None:
    counts = np.random.default_rng(clusters).integers(0, 50, (4, clusters))
    pairs = np.zeros((256, 256), np.int64)
    pairs[:4, :clusters], pairs[255, 0] = counts, 1000  # what is to be ignored does not count
    found = hungarian_scores(pairs, 4, clusters)
    size = max(4, clusters)
    square = np.zeros((size, size), np.int64)
    square[:4, :clusters] = counts
    best = max(itertools.permutations(range(size)), key=lambda order: square[np.arange(size), list(order)].sum())
    hits = square[np.arange(size), list(best)][:4]
    assert found.accuracy == pytest.approx(100 * hits.sum() / counts.sum())
    union = counts.sum(1) + square.sum(0)[list(best)][:4] - hits
    assert found.miou == pytest.approx(100 * (hits / union).mean())
    assert [each for each in found.clusters if each is not None] == [each for each in best[:4] if each < clusters]


def test_clusters_can_be_compared_with_groups_of_classes() -> None:
    table, settings = load_classes("toy"), ProbeSettings(classes="groups")
    groups = Classes.of(table, settings, "cause")
    assert groups.names == ("background", "ember", "moss", "azure") and groups.clusters(settings, "cause") == 4
    assert groups.of_label[:10].tolist() == [0, 1, 1, 1, 2, 2, 2, 3, 3, 3] and groups.of_label[255] == 255
    assert Classes.of(table, ProbeSettings(), "cause").of_label.tolist() == list(range(256))
    with pytest.raises(InputError, match="probe.classes: groups"):
        Classes.of(load_classes("voc"), settings, "cause")
    with pytest.raises(InputError, match="probe.clusters: 300"):
        groups.clusters(ProbeSettings(clusters=300), "cause")


def test_probes_start_where_features_are() -> None:
    centres = torch.eye(8)[:5]
    blobs = torch.cat(
        [
            each + 0.05 * torch.randn(30, 8, generator=torch.Generator().manual_seed(seed))
            for seed, each in enumerate(centres)
        ]
    )
    found = spherical_kmeans(blobs * torch.rand(len(blobs), 1).add(0.1), 5, seed=3)
    assert sorted((found @ centres.T).argmax(1).tolist()) == [0, 1, 2, 3, 4]
    assert float((found @ centres.T).amax(1).min()) > 0.99
    assert bool(torch.isfinite(spherical_kmeans(torch.ones(4, 3), 6, seed=0)).all())
