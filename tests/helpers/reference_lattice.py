"""The permutohedral lattice and the mean field on it, as one would write them down: loops and a dictionary of vertices.

Where a feature lies is computed in single precision, as pydensecrf does; what is filtered, in double precision.
"""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

Vertex = tuple[int, ...]
ONE = np.float32(1)


@dataclass(frozen=True)
class ReferenceLattice:
    """The vertices around each feature with their weights; `vertices` are those that exist."""

    corners: list[list[tuple[Vertex, float]]]
    vertices: set[Vertex]

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """(N,K) -> (N,K)."""
        heights: dict[Vertex, np.ndarray] = defaultdict(lambda: np.zeros(values.shape[1]))
        for value, corners in zip(values, self.corners, strict=True):
            for vertex, weight in corners:
                heights[vertex] = heights[vertex] + weight * value
        for axis in range(len(next(iter(self.vertices)))):
            old = heights
            heights = defaultdict(lambda: np.zeros(values.shape[1]))
            for vertex in self.vertices:
                around = [neighbour(vertex, axis, way) for way in (-1, 1)]
                heights[vertex] = old[vertex] + 0.5 * sum(old[each] for each in around if each in self.vertices)
        return np.array([sum(weight * heights[vertex] for vertex, weight in corners) for corners in self.corners])


def reference_lattice(features: np.ndarray) -> ReferenceLattice:
    """The lattice of features (N,d), float32."""
    corners = [simplex(feature) for feature in features]
    vertices = {vertex for around in corners for vertex, _ in around}
    if len(features) % 4:  # pydensecrf takes four at a time, and fills up with zeros
        vertices |= {vertex for vertex, _ in simplex(np.zeros_like(features[0]))}
    return ReferenceLattice(corners, vertices)


def neighbour(vertex: Vertex, axis: int, way: int) -> Vertex:
    moved = [each - way for each in vertex]
    moved[axis] += way * len(vertex)
    return tuple(moved)


def simplex(feature: np.ndarray) -> list[tuple[Vertex, float]]:
    """The d+1 vertices around a feature, with barycentric weights."""
    d = len(feature)
    place = elevated(feature)
    nearest = [np.rint(each * (ONE / np.float32(d + 1))) for each in place]
    rest = [each - whole * np.float32(d + 1) for each, whole in zip(place, nearest, strict=True)]
    rank = [sum(rest[j] > rest[i] or (rest[j] == rest[i] and j < i) for j in range(d + 1)) for i in range(d + 1)]
    zero = [int(whole) * (d + 1) for whole in nearest]
    for i in range(d + 1):
        rank[i] += int(sum(nearest))
        turns = rank[i] // (d + 1)
        rank[i] -= turns * (d + 1)
        zero[i] -= turns * (d + 1)
    height = {r: (p - np.float32(z)) * (ONE / np.float32(d + 1)) for r, p, z in zip(rank, place, zero, strict=True)}
    weights = [height[d] + (ONE - height[0]), *(height[d - p] - height[d - p + 1] for p in range(1, d + 1))]
    keys = [tuple(z + p - (d + 1) * (r > d - p) for z, r in zip(zero, rank, strict=True)) for p in range(d + 1)]
    return [(key, float(weight)) for key, weight in zip(keys, weights, strict=True)]


def elevated(feature: np.ndarray) -> list[np.float32]:
    """The feature in the plane of the d+1 coordinates whose sum is 0."""
    d = len(feature)
    deviation = np.sqrt(2 / 3) * (d + 1)
    scaled = [feature[i] * np.float32(deviation / np.sqrt((i + 1) * (i + 2))) for i in range(d)]
    result, above = [], np.float32(0)
    for j in range(d, 0, -1):
        result.append(above - np.float32(j) * scaled[j - 1])
        above = above + scaled[j - 1]
    return [above, *reversed(result)]


def mean_field(
    probabilities: np.ndarray, pixels: np.ndarray, sigmas: tuple[float, float, float], weights: tuple[float, float]
) -> np.ndarray:
    """Ten iterations on one image.

    Args:
        probabilities: (M,H,W), positive.
        pixels: (H,W,3) uint8.
        sigmas: of the smoothness kernel in space, of the appearance kernel in space and in colour.
        weights: of the two kernels.
    """
    count, height, width = probabilities.shape
    places = np.array([(x, y) for y in range(height) for x in range(width)], np.float32)
    colours = pixels.reshape(-1, 3).astype(np.float32) / np.float32(sigmas[2])
    near = reference_lattice(places / np.float32(sigmas[0]))
    alike = reference_lattice(np.hstack([places / np.float32(sigmas[1]), colours]))
    unary = np.log(np.maximum(probabilities, 1e-5)).reshape(count, -1).T
    marginals = softmax(unary)
    norms = [1 / np.sqrt(kernel(np.ones((len(unary), 1)))) for kernel in (near, alike)]
    for _ in range(10):
        messages = [norm * kernel(norm * marginals) for kernel, norm in zip((near, alike), norms, strict=True)]
        marginals = softmax(unary + weights[0] * messages[0] + weights[1] * messages[1])
    return marginals.T.reshape(probabilities.shape)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)
