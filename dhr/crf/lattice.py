"""Permutohedral lattices: which vertices surround each pixel, with which weights, and which are neighbours.

They are equal to those of the C++ code by Kraehenbuehl and Koltun. A vertex exists where some pixel touches it, and
the number of pixels is filled up to a multiple of 4 by pixels whose features are 0.

A vertex has integer coordinates k_0 .. k_{d-1} (d features), all equal modulo d+1. Its code is a number whose digits
are k_0 and (k_i - k_0) / (d+1). Adding 1 to all coordinates raises the code by `rise`; taking d+1 from coordinate i
lowers it by `fall[i]`. So the codes of neighbours differ by a constant, and one walk along the sorted codes finds all
neighbours. The digits that change with the column come first: what is near in the image is near in memory.
"""

import math
from dataclasses import dataclass

import numpy as np

from dhr.crf.mean_field import CHUNK, normalise
from dhr.runtime.compiled import compiled

Array = np.ndarray
Steps = tuple[Array, np.int64]
ONE = np.float32(1)
BLOCK = 4  # pixels that the C++ code works on together
SLACK = 6  # vertices of a pixel and their neighbours lie fewer simplices away from it, in any digit
CODES = 2**62  # codes that are told apart


@dataclass(frozen=True)
class CompiledLattice:
    """The lattice of one image and one kernel.

    Attributes:
        weights: (N,d+1) float32, barycentric weights times the symmetric normalisation of the pixel.
        vertices: (N,d+1) uint32, numbers of the vertices around each pixel, from 1.
        neighbours: (d+1,M+1,2) uint32, numbers of both neighbours of each vertex along each axis, 0 where there is
            none; row 0 is empty.
    """

    weights: Array
    vertices: Array
    neighbours: Array

    @property
    def size(self) -> int:
        """Number of vertices, M."""
        return self.neighbours.shape[1] - 1


def build(features: Array) -> CompiledLattice:
    """The lattice of the pixels of one image.

    Args:
        features: (d,N) float32, d >= 2, N >= 1: place and colour of each pixel, in standard deviations of the kernel.

    Raises:
        ValueError: a feature is not finite, or the features reach so far that 62 bits cannot hold the codes.
    """
    d, pixels = features.shape
    filled = -(-pixels // BLOCK) * BLOCK
    padded = np.zeros((d, filled), np.float32)
    padded[:, :pixels] = features
    # Factors of the features before elevation, which make the blur a Gaussian of standard deviation 1.
    deviation = float(np.float32(math.sqrt(2 / 3) * (d + 1)))
    scale = np.array([1 / math.sqrt((i + 1) * (i + 2)) * deviation for i in range(d)], np.float32)
    steps = _steps(padded, scale)
    weights, vertices = np.empty((filled, d + 1), np.float32), np.empty((filled, d + 1), np.uint32)
    room, count = 1 << (4 * filled).bit_length(), -1  # photographs have up to 2.4 vertices per pixel, noise 6
    while count < 0:  # until half of the hash table suffices
        codes = np.empty(room // 2 + 1, np.int64)
        count = number_vertices(padded, scale, steps, np.zeros(room, np.int32), (codes, weights, vertices))
        room *= 2
    codes = codes[1 : count + 1]
    order = np.argsort(codes)
    neighbours = np.zeros((d + 1, len(codes) + 1, 2), np.uint32)
    find_neighbours(codes[order], steps, neighbours)
    rank = np.zeros(len(codes) + 1, np.uint32)
    rank[order + 1] = np.arange(1, len(codes) + 1)
    lattice = CompiledLattice(weights[:pixels], rank.take(vertices[:pixels]), neighbours)
    values, spare = (np.zeros((lattice.size + 1, 1), np.float32) for _ in range(2))
    normalise(lattice.weights, lattice.vertices, neighbours, values, spare)
    return lattice


def gaussian_features(height: int, width: int, sxy: float) -> Array:
    """(2,H*W) float32: column and row of each pixel, divided by `sxy`.

    >>> gaussian_features(2, 3, sxy=2.0).tolist()
    [[0.0, 0.5, 1.0, 0.0, 0.5, 1.0], [0.0, 0.0, 0.0, 0.5, 0.5, 0.5]]
    """
    rows, columns = np.divmod(np.arange(height * width), width)
    return np.stack([columns, rows]).astype(np.float32) / np.float32(sxy)


def bilateral_features(pixels: Array, sxy: float, srgb: float) -> Array:
    """(5,H*W) float32 of an image (H,W,3) uint8: place divided by `sxy`, colour divided by `srgb`.

    >>> bilateral_features(np.uint8([[[0, 0, 0], [255, 0, 128]]]), sxy=2.0, srgb=4.0).T.tolist()
    [[0.0, 0.0, 0.0, 0.0, 0.0], [0.5, 0.0, 63.75, 0.0, 32.0]]
    """
    colours = pixels.reshape(-1, 3).T.astype(np.float32) / np.float32(srgb)
    return np.concatenate([gaussian_features(len(pixels), pixels.shape[1], sxy), colours])


def _steps(features: Array, scale: Array) -> Steps:
    """`fall` (d+1) and `rise` of the codes."""
    d = len(features)
    elevation = np.triu(np.ones((d, d)))
    elevation[np.arange(1, d), np.arange(d - 1)] = -np.arange(1, d)
    coordinates = np.concatenate([np.eye(d), -np.ones((1, d))])  # the last one makes their sum 0
    apart = (coordinates - coordinates[0]) / (d + 1)
    digits = np.stack([apart[1] - 2 * apart[2], *apart[2:d], *(coordinates[:1] if d > 2 else apart[2:])])
    spread = np.abs(digits @ elevation) @ (np.ptp(features, axis=1).astype(np.float64) * scale)
    if not np.isfinite(spread).all():
        raise ValueError("the CRF was given a feature that is not finite; is a standard deviation 0?")
    lengths = [math.ceil(length) + SLACK * (d + 1) for length in spread]
    if math.prod(lengths) > CODES:
        raise ValueError(f"{features.shape[1]} pixels: the standard deviations of the CRF are too small for the image")
    places = np.array([math.prod(lengths[digit + 1 :]) for digit in range(d)], dtype=np.float64)
    code = places @ digits
    fall = np.rint((d + 1) * code)
    return np.append(fall, 0).astype(np.int64), np.int64(np.rint(code.sum()))


@compiled(fast=False)
def number_vertices(features: Array, scale: Array, steps: Steps, table: Array, found: tuple[Array, ...]) -> int:
    """Finds the simplex of every pixel; numbers vertices from 1 in the order of their first use.

    Args:
        features: (d,N).
        scale: (d,) what elevation multiplies the features by.
        steps: (fall, rise), see above.
        table: (power of two,) int32 zeros, the hash table.
        found: (codes, weights, vertices): (more than half of the table,) int64, (N,d+1), (N,d+1) uint32; filled.

    Returns:
        M, or -1 if more than half of the table would be taken.
    """
    codes, weights, vertices = found
    d = len(features)
    elevated = np.zeros((d + 1, CHUNK), np.float32)
    cells, ranks = np.empty((d + 1, CHUNK), np.int32), np.empty((d + 1, CHUNK), np.int32)
    names = np.empty((CHUNK, d + 1), np.int64)
    count = 0
    for start in range(0, features.shape[1], CHUNK):
        stop = min(start + CHUNK, features.shape[1])
        elevate(features, start, scale, elevated)
        round_to_simplex(elevated, cells, ranks)
        corners(elevated, cells, ranks, steps, (weights[start:stop], names))
        count = look_up(names[: stop - start], table, codes, count, vertices[start:stop])
        if count < 0:
            break
    return count


@compiled(fast=False)
def elevate(features: Array, start: int, scale: Array, elevated: Array) -> None:
    """A chunk of features onto the plane in d+1 dimensions whose coordinates sum to 0 (page 5 of the paper)."""
    n = min(CHUNK, features.shape[1] - start)
    total = np.zeros(n, np.float32)
    for axis in range(len(features), 0, -1):
        for p in range(n):
            along = features[axis - 1, start + p] * scale[axis - 1]
            elevated[axis, p] = total[p] - np.float32(axis) * along
            total[p] += along
    elevated[0, :n] = total


@compiled(fast=False)
def round_to_simplex(elevated: Array, cells: Array, ranks: Array) -> None:
    """The nearest vertex of remainder 0, in units of d+1, and the order of the distances to it."""
    axes, n = elevated.shape
    down, up = ONE / np.float32(axes), np.float32(axes)
    ranks[:] = 0
    for i in range(axes):
        for p in range(n):
            cells[i, p] = np.int32(np.rint(down * elevated[i, p]))
            ranks[0, p] += cells[i, p]
    ranks[1:] = ranks[0]
    for i in range(axes):
        for j in range(i + 1, axes):
            for p in range(n):
                less = elevated[i, p] - up * np.float32(cells[i, p]) < elevated[j, p] - up * np.float32(cells[j, p])
                ranks[i, p] += np.int32(less)
                ranks[j, p] += np.int32(1) - np.int32(less)
    for i in range(axes):
        for p in range(n):
            wrap = np.int32(ranks[i, p] < 0) - np.int32(ranks[i, p] >= axes)  # back onto the plane
            ranks[i, p] += wrap * np.int32(axes)
            cells[i, p] += wrap


@compiled(fast=False)
def corners(elevated: Array, cells: Array, ranks: Array, steps: Steps, found: tuple[Array, ...]) -> None:
    """Barycentric weights and codes of the d+1 vertices around each pixel (page 10 of the paper)."""
    (fall, rise), (weights, names) = steps, found
    d = len(elevated) - 1
    down, up = ONE / np.float32(d + 1), np.float32(d + 1)
    distance, axis = np.empty(d + 1, np.float32), np.empty(d + 1, np.int64)
    for p in range(len(weights)):
        code = np.int64(0)
        for i in range(d + 1):
            axis[ranks[i, p]] = i
            distance[ranks[i, p]] = (elevated[i, p] - up * np.float32(cells[i, p])) * down
            code += cells[i, p] * fall[i]
        weights[p, 0] = distance[d] + (ONE - distance[0])
        names[p, 0] = code
        for remainder in range(1, d + 1):
            weights[p, remainder] = distance[d - remainder] - distance[d - remainder + 1]
            code += rise - fall[axis[d - remainder + 1]]
            names[p, remainder] = code


@compiled(fast=False)
def look_up(names: Array, table: Array, codes: Array, count: int, vertices: Array) -> int:
    """Finds the numbers of the codes in `names`; a new code gets the next number. Returns how many there are, or -1."""
    shift = np.uint64(64)
    while (np.uint64(1) << (np.uint64(64) - shift)) < np.uint64(len(table)):
        shift -= np.uint64(1)
    for p in range(len(names)):
        if 2 * (count + names.shape[1]) > len(table):
            return -1
        for corner in range(names.shape[1]):
            code = names[p, corner]
            slot = np.int64((np.uint64(code) * np.uint64(0x9E3779B97F4A7C15)) >> shift)  # golden ratio
            while table[slot] != 0 and codes[table[slot]] != code:
                slot = (slot + 1) & (len(table) - 1)
            if table[slot] == 0:
                count += 1
                table[slot], codes[count] = count, code
            vertices[p, corner] = table[slot]
    return count


@compiled(fast=False)
def find_neighbours(codes: Array, steps: Steps, neighbours: Array) -> None:
    """Finds both neighbours of every vertex along each axis: their codes differ by the same number for all vertices.

    Args:
        codes: (M,) ascending.
        steps: (fall, rise).
        neighbours: (d+1,M+1,2) uint32 zeros; filled.
    """
    fall, rise = steps
    for axis in range(len(neighbours)):
        other = 0
        for vertex in range(len(codes)):
            code = codes[vertex] + fall[axis] - rise
            while other < len(codes) and codes[other] < code:
                other += 1
            if other < len(codes) and codes[other] == code:
                neighbours[axis, vertex + 1, 0] = other + 1
                neighbours[axis, other + 1, 1] = vertex + 1
