"""The plain way to relabel a batch, as the released code goes it: image by image, cell by cell, pydensecrf in turn.

It computes what `rebalancing=softened` with overwritten seeds and equal mass computes but for the choice of tags, and
is kept to compare times with.
"""

import numpy as np
import torch
from pydensecrf import densecrf
from torch.nn import functional

from dhr.core.sample import Batch, NetworkOutput
from dhr.crf.potentials import FLOOR, Potentials

EPSILON, ITERATIONS, TAU = 0.1, 100, 0.8
Array = np.ndarray


def relabel(batch: Batch, output: NetworkOutput, potentials: Potentials) -> list[Array]:
    """Labels (H,W) of each image: slot numbers, 0 is the background."""
    return [_one(batch, output, number, potentials) for number in range(len(batch.ids))]


def _one(batch: Batch, output: NetworkOutput, number: int, potentials: Potentials) -> Array:
    assert batch.uss_features is not None
    pixels = np.ascontiguousarray(batch.pixels[number].permute(1, 2, 0).numpy())
    tags = int(batch.tags[number].sum())
    seeds = _seeds(output.cams[number, :tags].numpy(), batch.wss_mask[number].numpy(), pixels, potentials)
    uss = batch.uss_features[number].numpy()
    grid = uss.shape[1:]
    owner = _wide_labels(seeds, grid)
    present = [label for label in range(tags + 1) if (owner == label).any()]
    centres = [_prototype(uss, owner == label) for label in present]
    heat = np.array([_likeness(uss, centre) for centre in centres])
    own = np.array([[_likeness(maps[number].numpy(), _prototype(maps[number].numpy(), owner == label))
                     for label in present] for maps in output.features]).mean(0)  # fmt: skip
    close = [place for place in range(len(present)) if any(
        place != other and _cosine(centres[place], centres[other]) > TAU for other in range(len(present)))]  # fmt: skip
    if len(close) >= 2:
        heat[close] = heat[close] * _transport(own[close])
    heat = heat * _transport(heat)
    return infer(_probabilities(_resized(heat, pixels.shape[:2])), pixels, potentials).argmax(0)


def _seeds(cams: Array, mask: Array, pixels: Array, potentials: Potentials) -> Array:
    maps = np.maximum(cams, 0)
    maps = maps / np.maximum(maps.max((1, 2), keepdims=True), 1e-9)
    maps = _resized(maps * _transport(maps) if len(maps) > 1 else maps, mask.shape)
    marginals = infer(_probabilities(np.concatenate([1 - maps.max(0, keepdims=True), maps])), pixels, potentials)
    winner = marginals.argmax(0)
    return np.where((winner > 0) & (marginals.max(0) > 0.5), winner, mask)


def _wide_labels(mask: Array, grid: tuple[int, ...]) -> Array:
    """(h,w) label that covers most of each cell."""
    step, labels = mask.shape[0] // grid[0], np.zeros(grid, int)
    for row in range(grid[0]):
        for column in range(grid[1]):
            cell = mask[row * step : (row + 1) * step, column * step : (column + 1) * step]
            labels[row, column] = np.bincount(cell.ravel()).argmax()
    return labels


def _prototype(features: Array, owned: Array) -> Array:
    total = np.zeros(len(features))
    for row, column in zip(*np.nonzero(owned), strict=True):
        total += features[:, row, column]
    return total / max(int(owned.sum()), 1)


def _likeness(features: Array, centre: Array) -> Array:
    height, width = features.shape[1:]
    values = np.zeros((height, width))
    for row in range(height):
        for column in range(width):
            values[row, column] = _cosine(features[:, row, column], centre)
    return (values - values.min()) / max(float(np.ptp(values)), 1e-9)


def _cosine(first: Array, second: Array) -> float:
    return float(first @ second / max(float(np.linalg.norm(first) * np.linalg.norm(second)), 1e-9))


def _transport(scores: Array) -> Array:
    kernel = np.exp((scores.reshape(len(scores), -1) - 1) / EPSILON)
    column = np.ones(len(kernel))
    for _ in range(ITERATIONS):
        row = 1 / kernel.shape[1] / (column @ kernel)
        column = 1 / len(kernel) / (kernel @ row)
    plan = column[:, None] * kernel * row
    low, high = plan.min(1, keepdims=True), plan.max(1, keepdims=True)
    return ((plan - low) / (high - low + 1e-12)).reshape(scores.shape)


def infer(probabilities: Array, pixels: Array, potentials: Potentials) -> Array:
    """Marginals (M,H,W) as everybody asks pydensecrf for them."""
    field = densecrf.DenseCRF2D(pixels.shape[1], pixels.shape[0], len(probabilities))
    field.addPairwiseGaussian(sxy=potentials.gaussian_sxy, compat=potentials.gaussian_weight)
    field.addPairwiseBilateral(sxy=potentials.bilateral_sxy, srgb=potentials.bilateral_srgb, rgbim=pixels,
                               compat=potentials.bilateral_weight)  # fmt: skip
    unary = -np.log(np.maximum(probabilities, FLOOR)).reshape(len(probabilities), -1)
    field.setUnaryEnergy(np.ascontiguousarray(unary, np.float32))
    return np.array(field.inference(potentials.iterations)).reshape(probabilities.shape)


def _resized(maps: Array, size: tuple[int, ...]) -> Array:
    wide = functional.interpolate(torch.from_numpy(maps)[None].float(), size=size, mode="bilinear")
    return wide[0].clamp(0, 1).numpy()


def _probabilities(maps: Array) -> Array:
    return (maps / np.maximum(maps.sum(0, keepdims=True), 1e-9)).astype(np.float32)
