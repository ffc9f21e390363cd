"""The debiasing of MARS against loops over cells and backgrounds; unknown pixels and their labels by hand."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dhr.core.cells import CentredCells
from dhr.core.errors import InputError
from dhr.core.labels import IGNORE
from dhr.core.sample import Batch, NetworkOutput, Sample
from dhr.core.window import Window
from dhr.crf.none import NoCrf
from dhr.wss.complement import Teacher
from dhr.wss.debias import centroids_of, clusters_of, contrast, debiased_centroids, likeness, without_bias


def units(*shape: int, seed: int = 0) -> Tensor:
    values = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return values / values.norm(dim=-1, keepdim=True)


def slow_clusters(cells: list[np.ndarray], count: int) -> list[np.ndarray]:
    """Cosine k-means cell by cell."""
    mean = sum(cells) / len(cells)
    seeds = [min(range(len(cells)), key=lambda n: float(cells[n] @ mean))]
    while len(seeds) < min(count, len(cells)):
        seeds.append(min(range(len(cells)), key=lambda n: max(float(cells[n] @ cells[seed]) for seed in seeds)))
    centroids = [cells[seed] for seed in seeds]
    for _ in range(100):
        nearest = [max(range(len(seeds)), key=lambda c: float(cell @ centroids[c])) for cell in cells]
        for c in range(len(seeds)):
            members = [cell for cell, own in zip(cells, nearest, strict=True) if own == c]
            centroids[c] = sum(members) / np.linalg.norm(sum(members)) if members else centroids[c]
    return [centroid for c, centroid in enumerate(centroids) if c in nearest]


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("number", [1, 2, 3, 40])
def test_clusters_are_those_of_a_loop(number: int, count: int) -> None:
    cells = units(number, 6, seed=number)
    expected = slow_clusters([cell.numpy().astype(np.float64) for cell in cells], count)
    assert len(expected) == min(number, count)
    torch.testing.assert_close(clusters_of(cells, count), torch.tensor(np.stack(expected)).float())


def test_clusters_of_few_and_equal_cells() -> None:
    assert clusters_of(torch.zeros(0, 4), 2).shape == (0, 4)
    torch.testing.assert_close(clusters_of(torch.tensor([[0.6, 0.8]] * 5), 2), torch.tensor([[0.6, 0.8]]))


def test_labels_are_looked_up_on_the_grid() -> None:
    """Two labels in blocks of 4x4 pixels, and 255, on a grid of 2x3 cells."""
    features = units(2, 3, 5).permute(2, 0, 1) * 7
    labels = torch.tensor([[0, 4, IGNORE], [0, 4, 4]], dtype=torch.uint8)
    found = centroids_of(features, labels.repeat_interleave(4, 0).repeat_interleave(4, 1), count=9)
    assert sorted(found) == [0, 4] and [len(found[label]) for label in (0, 4)] == [2, 3]
    cells = {tuple(np.round((features / 7)[:, y, x].tolist(), 4)) for y, x in ((0, 1), (1, 1), (1, 2))}
    assert {tuple(np.round(row.tolist(), 4)) for row in found[4]} == cells


def test_debiased_centroids_are_those_of_loops_over_all_backgrounds() -> None:
    images = [
        {label: units(2 if label else 1 + seed % 2, 6, seed=10 * seed + label) for label in labels}
        for seed, labels in enumerate([(0, 1, 2), (0, 2), (1,), (0,), (0, 1, 5), ()])
    ]
    backgrounds = [v for image in images for v in image.get(0, [])]
    made = debiased_centroids(images, num_classes=7, kept=0.4)
    for label in (1, 2, 5):
        own = [v for image in images for v in image.get(label, [])]
        distances = [sum((1 - float(v @ b)) / 2 for b in backgrounds) / len(backgrounds) for v in own]
        order = sorted(range(len(own)), key=lambda n: -distances[n])
        mean = torch.stack([own[n] for n in order[: math.ceil(0.4 * len(own))]]).mean(0)
        torch.testing.assert_close(made[label], mean / mean.norm())
    assert not made[[0, 3, 4, 6]].any()  # the background, and classes that are in no image


def test_without_any_background_there_is_nothing_to_tell_from() -> None:
    with pytest.raises(InputError, match="no background in any of its masks"):
        debiased_centroids([{1: units(2, 3)}, {}], num_classes=2, kept=0.4)


def test_likeness_is_the_best_cosine_above_zero() -> None:
    features, centroids = 3 * units(2, 3, 5).permute(2, 0, 1), units(2, 5, seed=1)
    expected = [[max(0.0, *(float(features[:, y, x] @ v) / 3 for v in centroids)) for x in range(3)] for y in range(2)]
    torch.testing.assert_close(likeness(features, centroids, (2, 3)), torch.tensor(expected))
    assert likeness(features, centroids, (8, 9)).shape == (8, 9)
    for nothing in (torch.zeros(1, 5), torch.zeros(0, 5)):  # a class of no mask, an image without tags
        assert not likeness(features, nothing, (8, 9)).any()


def test_contrast_is_the_likeness_to_classes_against_that_to_the_background() -> None:
    features, classes, backgrounds = units(2, 3, 5).permute(2, 0, 1), units(2, 5, seed=1), units(3, 5, seed=2)

    def best(y: int, x: int, among: Tensor) -> float:
        return max(0.0, *(float(features[:, y, x] @ v) for v in among))

    found = contrast(features, classes, backgrounds, (2, 3))
    for y in range(2):
        for x in range(3):
            ours, theirs = best(y, x, classes), best(y, x, backgrounds)
            assert float(found[y, x]) == pytest.approx((1 + ours - theirs) / 2, abs=1e-6)
            assert (float(found[y, x]) > 0.5) == (ours > theirs)
    alone = contrast(features, classes, torch.zeros(0, 5), (2, 3))  # an image that is all foreground
    torch.testing.assert_close(alone, (1 + likeness(features, classes, (2, 3))) / 2)


def test_foreground_that_is_not_like_its_class_becomes_unknown() -> None:
    mask = torch.tensor([[0, 0, 3, 3, 3, IGNORE]], dtype=torch.uint8)
    foreground, pixels = torch.tensor([[0.9, 0.1, 0.9, 0.4, 0.5, 0.9]]), torch.zeros(3, 1, 6, dtype=torch.uint8)
    made = without_bias(mask, foreground, pixels, crf=NoCrf())
    assert made.tolist() == [[0, 0, 3, IGNORE, IGNORE, IGNORE]]  # nothing is added, and 255 stays
    empty = torch.zeros_like(mask)
    assert torch.equal(without_bias(empty, foreground, pixels, crf=NoCrf()), empty)


def test_the_teacher_complements_unknown_pixels_of_the_image() -> None:
    """Tags are classes 1 and 3 of four; the last column is padding."""
    rows = [[0.7, 0.1, 0.2, 0.0], [0.1, 0.2, 0.6, 0.1], [0.0, 0.3, 0.2, 0.5], [0.4, 0.3, 0.2, 0.1], [0, 1.0, 0, 0]]
    logits = torch.tensor(rows).clamp_min(1e-9).log().mT[None, :, None].expand(2, -1, -1, -1)
    mask = torch.tensor([[2, IGNORE, IGNORE, IGNORE, IGNORE]], dtype=torch.uint8)
    window = Window(scaled=(1, 4), flip=False, source=(0, 0, 1, 4), place=(0, 0), canvas=(1, 5))
    known = torch.zeros(1, 5, dtype=torch.uint8)  # of a second image, which has no unknown pixel, and one tag
    samples = [
        Sample("a", torch.zeros(3, 1, 5, dtype=torch.uint8), torch.tensor([1.0, 0, 1]), mask, window),
        Sample("b", torch.zeros(3, 1, 5, dtype=torch.uint8), torch.tensor([0, 1.0, 0]), known, Window.whole((1, 5))),
    ]
    network: Any = SimpleNamespace(cells=CentredCells(), decoder=SimpleNamespace(stride=1))
    average: Any = None
    teacher = Teacher(average, NoCrf(), first_tag=1)
    output = NetworkOutput(logits, logits, (logits, logits))
    labels, weights = teacher.complement(Batch.of(samples, torch.device("cpu")), output, network)
    assert labels.tolist() == [[[2, 1, 3, 0, IGNORE]], [[0] * 5]]
    torch.testing.assert_close(weights, torch.tensor([[[1, 0.2, 0.5, 0.3, 1]], [[1.0] * 5]]))
