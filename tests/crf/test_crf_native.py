"""The compiled CRF equals pydensecrf, on small made images and on photographs."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from reference_crf import by_hand
from torch import Tensor

from dhr.crf import mean_field
from dhr.crf.boxes import boxed_images
from dhr.crf.interface import normalised
from dhr.crf.lattice import bilateral_features, build, gaussian_features
from dhr.crf.native import NativeCrf, infer, lattices_of
from dhr.crf.potentials import Potentials

ROOT = Path(__file__).resolve().parents[2]
SMALL = Potentials(gaussian_sxy=2.0, bilateral_sxy=20.0, bilateral_srgb=9.0, bilateral_weight=5.0)
ALONE = NativeCrf(workers=0, **vars(SMALL))


@pytest.fixture(scope="module")
def threaded() -> Iterator[NativeCrf]:
    crf = NativeCrf(workers=2, **vars(SMALL))
    yield crf
    for pool in crf._pools:
        pool.shutdown()


def scene(height: int, width: int, channels: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (M,H,W) and an image (H,W,3) of soft surfaces with noise."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    waves = np.stack([np.sin(rows / (5 + k % 7) + k) + np.cos(columns / (6 + k % 5) - k) for k in range(channels)])
    scores = np.exp(waves + generator.random(waves.shape)).astype(np.float32)
    colours = 128 + 60 * waves[[0, -1, 0]] + generator.integers(-9, 10, (3, height, width))
    return scores / scores.sum(0), np.ascontiguousarray(colours.clip(0, 255).astype(np.uint8).transpose(1, 2, 0))


def compare(scores: np.ndarray, pixels: np.ndarray, potentials: Potentials, mean: float = 1e-6) -> None:
    expected = by_hand(scores, pixels, potentials)
    result = infer(scores, lattices_of(pixels, potentials), potentials)
    assert result.shape == expected.shape and result.dtype == np.float32
    assert np.abs(result - expected).mean() <= mean
    assert (result.argmax(0) == expected.argmax(0)).mean() >= 0.999


# Sizes leave every remainder modulo 4, and channels fill every kind of group.
@pytest.mark.parametrize("size", [(24, 32), (23, 31), (25, 30), (17, 19), (1, 40), (37, 1), (1, 1), (2, 1)])
@pytest.mark.parametrize("channels", [2, 3, 5, 9])
def test_equals_pydensecrf(size: tuple[int, int], channels: int) -> None:
    for potentials in (SMALL, Potentials()):
        compare(*scene(*size, channels), potentials)


@pytest.mark.parametrize("channels", [64, 255])
def test_equals_pydensecrf_with_many_channels(channels: int) -> None:
    compare(*scene(14, 17, channels), SMALL)


@pytest.mark.parametrize("iterations", [0, 1])
def test_equals_pydensecrf_after_few_iterations(iterations: int) -> None:
    compare(*scene(21, 22, 3), replace(SMALL, iterations=iterations))


@pytest.mark.parametrize("colour", [0, 255])
def test_equals_pydensecrf_on_one_colour(colour: int) -> None:
    scores, pixels = scene(22, 27, 3)
    compare(scores, np.full_like(pixels, colour), Potentials())


def test_equals_pydensecrf_on_noise_that_makes_the_table_grow() -> None:
    scores, _ = scene(40, 50, 2)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    lattice = build(bilateral_features(pixels, 67.0, 3.0))
    assert 4 < lattice.size / 2000 <= 6
    compare(scores, pixels, Potentials())


def test_certain_probabilities_stay_distributions() -> None:
    scores, pixels = scene(20, 20, 4)
    scores = (scores == scores.max(0)).astype(np.float32)
    strong = replace(SMALL, bilateral_weight=200.0)
    compare(scores, pixels, strong)
    total = infer(scores, lattices_of(pixels, strong), strong).sum(0)
    np.testing.assert_allclose(total, 1, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("dataset", ["voc2012/VOCdevkit/VOC2012/JPEGImages", "coco2014/val2014", "densecrf"])
def test_equals_pydensecrf_on_photographs(shared: Path, dataset: str) -> None:
    paths = sorted(path for path in (shared / "samples" / dataset).glob("*") if path.stem[:2] not in {"an", "ou"})
    for number, path in enumerate(paths[:: max(1, len(paths) // 4)][:4]):
        pixels = np.array(Image.open(path).convert("RGB"))
        channels = (2, 4, 3, 6)[number]
        coarse = torch.randn(1, channels, 9, 9, generator=torch.Generator().manual_seed(number))
        smooth = torch.nn.functional.interpolate(coarse, size=pixels.shape[:2], mode="bicubic")
        compare((3 * smooth).softmax(1)[0].numpy(), pixels, Potentials())


def batch() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Five images: whole, in a box, one class, empty box, a line."""
    parts = [scene(24, 32, 4, seed) for seed in range(5)]
    valid = torch.zeros(5, 24, 32, dtype=torch.bool)
    for number, (rows, columns) in enumerate([((0, 24), (0, 32)), ((4, 21), (3, 32)), ((0, 9), (5, 30))]):
        valid[number, slice(*rows), slice(*columns)] = True
    valid[4, 7, 3:20] = True
    present = torch.tensor([[1, 1, 1, 1], [1, 0, 1, 0], [0, 1, 0, 0], [1, 1, 1, 1], [1, 1, 0, 1]]) > 0
    probabilities = torch.stack([torch.from_numpy(scores) for scores, _ in parts])
    return (
        probabilities,
        torch.stack([torch.from_numpy(pixels).permute(2, 0, 1) for _, pixels in parts]),
        valid,
        present,
    )


def test_a_batch_is_its_images() -> None:
    probabilities, pixels, valid, present = batch()
    field = ALONE.on(pixels, valid)
    result = field(probabilities, present)
    start = normalised(probabilities, valid, present)
    jobs = list(boxed_images(start, pixels, valid, present))
    assert [job.number for job in jobs] == [0, 1, 4]
    expected = start.clone()
    for job in jobs:
        job.put(expected, infer(job.scores, lattices_of(job.pixels, SMALL), SMALL))
    assert torch.equal(result, expected)
    torch.testing.assert_close(result.sum(1), valid.float())
    assert bool((result >= 0).all()) and not bool((result * ~present[:, :, None, None]).any())


def test_neither_workers_nor_company_change_the_result(threaded: NativeCrf) -> None:
    probabilities, pixels, valid, present = batch()
    expected = ALONE.on(pixels, valid)(probabilities, present)
    assert torch.equal(threaded.on(pixels, valid)(probabilities, present), expected)
    for number in range(5):
        one = slice(number, number + 1)
        assert torch.equal(ALONE.on(pixels[one], valid[one])(probabilities[one], present[one])[0], expected[number])


def test_a_field_keeps_its_lattices(threaded: NativeCrf) -> None:
    probabilities, pixels, valid, present = batch()
    field = threaded.on(pixels, valid)
    first = field(probabilities, present)
    kept = dict(field._lattices)
    other = present.clone()
    other[0, 3] = False  # another number of classes
    second = field(probabilities.flip(3), other)
    assert sorted(kept) == [0, 1, 4] and all(field._lattices[number] is kept[number] for number in kept)
    assert torch.equal(second, threaded.on(pixels, valid)(probabilities.flip(3), other))
    assert torch.equal(field(probabilities, present), first)


def test_half_precision_and_the_input_are_left_alone() -> None:
    probabilities, *others = batch()
    before = probabilities.clone()
    expected = ALONE.on(*others[:2])(probabilities, others[2])
    assert torch.equal(probabilities, before)
    half = ALONE.on(*others[:2])(probabilities.half(), others[2])
    assert half.dtype == torch.float16 and float((half.float() - expected).abs().mean()) < 5e-3


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.1])
def test_nonsense_is_refused(threaded: NativeCrf, value: float) -> None:
    probabilities, pixels, valid, present = batch()
    probabilities[0, 1, 2, 3] = value
    with pytest.raises(ValueError, match="NaN, infinite or negative"):
        threaded.on(pixels, valid)(probabilities, present)


@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_impossible_deviations_are_refused() -> None:
    with pytest.raises(ValueError, match="is a standard deviation 0"):
        build(gaussian_features(3, 4, 0.0))
    with pytest.raises(ValueError, match="too small for the image"):
        build(bilateral_features(scene(8, 9, 2)[1], 1e-3, 1e-3))


def test_weights_are_a_partition_with_symmetric_normalisation() -> None:
    lattice = build(bilateral_features(scene(20, 21, 2)[1], 20.0, 9.0))
    assert lattice.weights.shape == lattice.vertices.shape == (420, 6)
    assert lattice.vertices.min() == 1 and lattice.vertices.max() <= lattice.size
    share = lattice.weights / lattice.weights.sum(1, keepdims=True)
    assert (share > -1e-5).all()
    for axis in range(6):
        there = lattice.neighbours[axis, :, 0]
        known = np.nonzero(there)[0]
        assert (lattice.neighbours[axis, there[known], 1] == known).all()  # neighbours of each other


def test_the_exponential_is_that_of_the_library() -> None:
    values = np.linspace(-59.9, 0, 5001, dtype=np.float32)
    expected = np.exp(values.astype(np.float64))
    result = np.array([mean_field.exponential(value) for value in values])
    assert (np.abs(result / expected - 1)).max() < 3e-7
    assert mean_field.exponential(np.float32(-61)) == 0 and mean_field.exponential(np.float32(-1e30)) == 0


@pytest.mark.slow
def test_it_runs_where_nothing_can_be_kept() -> None:
    code = (
        "import numba.core.caching as caching\n"
        "caching.CacheImpl._locator_classes = []\n"  # as with a folder and a home that cannot be written
        "from dhr.crf.lattice import build, gaussian_features\n"
        "from dhr.crf.mean_field import splat\n"
        "print(build(gaussian_features(3, 4, 1.0)).size, splat.stats.cache_path)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    vertices, kept_at = done.stdout.split()
    assert int(vertices) > 12 and kept_at == "None"
