"""Compiled loops: filtering on a permutohedral lattice (Adams et al., 2010), and mean-field inference with it.

They release the lock of the interpreter, so that threads run side by side.

Legend: N pixels, d features, M vertices, G groups of L channels each, which go through a loop together; C = G L.
Vertex 0 stands for all missing vertices; its value is always 0. `lanes` is any tuple of length L: the length of a
tuple, unlike that of an array, is known when a loop is compiled.
"""

import numpy as np

from dhr.runtime.compiled import compiled

CHUNK = 256  # pixels that are worked on together: their intermediate values stay in the nearest cache
NEGLIGIBLE = np.float32(-60)  # logarithm of a probability that is taken as 0: sums in single precision never see it
ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)

Array = np.ndarray
Lanes = tuple[int, ...]
Term = tuple[np.float32, Array, Array, Array, Array, Array]


@compiled(fast=True)
def splat(z: Array, weights: Array, vertices: Array, values: Array, lanes: Lanes) -> None:
    """Adds weights^T z to values (M+1,L); z is (N,L)."""
    for p in range(len(weights)):
        for corner in range(weights.shape[1]):
            weight, vertex = weights[p, corner], vertices[p, corner]
            for k in range(len(lanes)):
                values[vertex, k] += weight * z[p, k]


@compiled(fast=True)
def cut(z: Array, factor: np.float32, weights: Array, vertices: Array, values: Array, lanes: Lanes) -> None:
    """Adds factor * weights values to z (N,L); in the paper: slicing."""
    for p in range(len(weights)):
        for corner in range(weights.shape[1]):
            weight, vertex = factor * weights[p, corner], vertices[p, corner]
            for k in range(len(lanes)):
                z[p, k] += weight * values[vertex, k]


@compiled(fast=True)
def blur(values: Array, spare: Array, neighbours: Array, lanes: Lanes) -> None:
    """[.5, 1, .5] along one axis after the other; the result is in `spare` if their number is odd."""
    for axis in range(len(neighbours)):
        for vertex in range(1, len(values)):
            left, right = neighbours[axis, vertex, 0], neighbours[axis, vertex, 1]
            for k in range(len(lanes)):
                spare[vertex, k] = values[vertex, k] + HALF * (values[left, k] + values[right, k])
        values, spare = spare, values


@compiled(fast=True)
def normalise(weights: Array, vertices: Array, neighbours: Array, values: Array, spare: Array) -> None:
    """Multiplies the weights of each pixel by 1/sqrt(its response to ones); splat and cut apply this factor once each.

    `values` and `spare` are (M+1,1) and 0.
    """
    lanes = (0,)
    z = np.ones((len(weights), 1), np.float32)
    splat(z, weights, vertices, values, lanes)
    blur(values, spare, neighbours, lanes)
    z[:] = 0
    cut(z, ONE, weights, vertices, spare if len(neighbours) % 2 else values, lanes)
    for p in range(len(z)):
        factor = ONE / np.sqrt(z[p, 0] + np.float32(1e-20))
        for corner in range(weights.shape[1]):
            weights[p, corner] *= factor


@compiled(fast=True)
def soft_max(z: Array) -> None:
    """Soft-max over the channels of z (C,n), in place."""
    top, total = z[0].copy(), np.zeros(z.shape[1], np.float32)
    for k in range(1, len(z)):
        for p in range(len(top)):
            top[p] = max(top[p], z[k, p])
    for k in range(len(z)):
        for p in range(len(top)):
            z[k, p] = exponential(z[k, p] - top[p])
            total[p] += z[k, p]
    for k in range(len(z)):
        for p in range(len(top)):
            z[k, p] /= total[p]


@compiled(fast=True)
def exponential(x: np.float32) -> np.float32:
    """e^x for x <= 0 in single precision; unlike the library's function, it can be vectorised by the compiler.

    x = n log 2 + r, with log 2 in two parts; e^r is the polynomial of the Cephes library.
    """
    n = np.rint(max(x, NEGLIGIBLE) * np.float32(1.44269504))
    r = max(x, NEGLIGIBLE) - n * np.float32(0.693359375) + n * np.float32(2.12194440e-4)
    series = np.float32(1.9875691500e-4) * r + np.float32(1.3981999507e-3)
    series = series * r + np.float32(8.3334519073e-3)
    series = series * r + np.float32(4.1665795894e-2)
    series = series * r + np.float32(1.6666665459e-1)
    series = series * r + HALF
    series = series * r * r + r + ONE
    power = np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)
    return series * power if x > NEGLIGIBLE else ZERO


@compiled(fast=True)
def mean_field(energies: Array, terms: tuple[Term, Term], iterations: int, lanes: Lanes) -> None:
    """Replaces unary energies (C,N) by approximate marginals.

    Args:
        energies: (C,N).
        terms: two of (factor, weights, vertices, neighbours, values, spare); the last two are (G,M+1,L) and 0.
        iterations: >= 0.
        lanes: see above.
    """
    one, two = terms
    for iteration in range(iterations + 1):
        walk(energies, (one, two), (iteration == 0, iteration == iterations), lanes)
        if iteration < iterations:
            one, two = blurred(one, lanes), blurred(two, lanes)


@compiled(fast=True)
def blurred(term: Term, lanes: Lanes) -> Term:
    """The term whose values are the blurred spare values; its other array is the new spare."""
    factor, weights, vertices, neighbours, values, spare = term
    for group in range(len(values)):
        blur(spare[group], values[group], neighbours, lanes)
    if len(neighbours) % 2:
        return factor, weights, vertices, neighbours, values, spare
    return factor, weights, vertices, neighbours, spare, values


@compiled(fast=True)
def walk(energies: Array, terms: tuple[Term, Term], ends: tuple[bool, bool], lanes: Lanes) -> None:
    """Ends one iteration and begins the next in one pass over the pixels, so that the lattices are read only once.

    Args:
        energies: (C,N); the last walk overwrites them with marginals.
        terms: see `mean_field`; the marginals are splatted into the spare values.
        ends: (first, last): whether this is the first walk, before any iteration, and whether it is the last.
        lanes: see above.
    """
    first, last = ends
    channels, pixels = energies.shape
    z = np.empty((channels // len(lanes), CHUNK, len(lanes)), np.float32)
    columns = np.zeros((channels, CHUNK), np.float32)
    for term in terms:
        term[5][:] = 0
    for start in range(0, pixels, CHUNK):
        count = min(CHUNK, pixels - start)
        z[:] = 0
        if not first:
            receive(z, terms, start, lanes)
        for k in range(channels):
            for p in range(count):
                columns[k, p] = z[k // len(lanes), p, k % len(lanes)] - energies[k, start + p]
        soft_max(columns)
        if last:
            energies[:, start : start + count] = columns[:, :count]
        else:
            send(columns, z, terms, start, lanes)


@compiled(fast=True)
def receive(z: Array, terms: tuple[Term, Term], start: int, lanes: Lanes) -> None:
    """Adds the messages of both terms to the pixels z (G,CHUNK,L) from `start` on."""
    for factor, weights, vertices, _, values, _ in terms:
        here = weights[start : start + CHUNK], vertices[start : start + CHUNK]
        for group in range(len(z)):
            cut(z[group], factor, here[0], here[1], values[group], lanes)


@compiled(fast=True)
def send(columns: Array, z: Array, terms: tuple[Term, Term], start: int, lanes: Lanes) -> None:
    """Splats the marginals (C,CHUNK) of the pixels from `start` on into both terms; z (G,CHUNK,L) is room for them."""
    for group in range(len(z)):
        z[group] = columns[group * len(lanes) : (group + 1) * len(lanes)].T
    for _, weights, vertices, _, _, spare in terms:
        here = weights[start : start + CHUNK], vertices[start : start + CHUNK]
        for group in range(len(z)):
            splat(z[group], here[0], here[1], spare[group], lanes)
