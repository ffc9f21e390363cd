"""Gaussian filters on the permutohedral lattice (Adams et al., 2010) for a batch of images, in tensor operations.

Equal to the lattice of Kraehenbuehl and Koltun (2011), including what the mathematics leaves open: rounding half to
even, ranks by strict <, blur over those vertices only that some pixel touches, and single precision throughout. Their
loop takes four pixels at once; where the number of pixels is no multiple of four, it touches the simplex of the zero
feature too, and so does this code. The constant 1/(1 + 2^-d) is left out: symmetric normalisation cancels it.

All sizes follow from the sizes of the arguments: vertices are numbered by sorting whole numbers that stand for them.

Legend: d features, B images, P pixels of one image, N = B * P, V vertices with their room.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

SLACK = 1e-3  # of a lattice step, for single precision
CROWD = 64  # pixels outside their box that share one row, so that no row is long
INT32, INT64 = 2**31, 2**63


@dataclass(frozen=True)
class VertexCodes:
    """Numbering of the vertices around features in a box [0, reach]: linear in the vertex, no two vertices alike.

    Attributes:
        steps: (d+1) what one step along each axis of the blur adds; a step back subtracts it.
        origin: the code of the vertex 0.
        count: all codes lie in [0, count), and a step beyond the box leads to no code in use.
    """

    steps: tuple[int, ...]
    origin: int
    count: int


@cache
def codes_of(reach: tuple[float, ...]) -> VertexCodes:
    """The numbering of the vertices around features in [0, reach].

    The differences of its coordinates along a tree that joins the axes, whole numbers of steps, identify a vertex.
    Each axis is joined to that earlier axis for which the difference takes the fewest values. The difference of a
    vertex lies at most one step from that of a feature in its simplex. One more number is left free for the steps out
    of the box.
    """
    d = len(reach)
    # The (d+1, d) matrix that carries features onto the plane of the lattice (p. 5 of Adams et al., 2010).
    scale = [math.sqrt(2 / 3) * (d + 1) / math.sqrt((k + 1) * (k + 2)) for k in range(d)]
    rows = [[scale[k] * (-axis if k == axis - 1 else k >= axis) for k in range(d)] for axis in range(d + 1)]
    steps, origin, count = [0] * len(rows), 0, 1
    for axis in range(1, len(rows)):
        spans = [(_span(rows[partner], rows[axis], reach), partner) for partner in range(axis)]
        (low, high), partner = min(spans, key=lambda span: span[0][1] - span[0][0])
        steps[partner] += count
        steps[axis] -= count
        origin -= low * count
        count *= high - low + 2
    return VertexCodes(tuple(steps), origin, count)


def _span(first: Sequence[float], second: Sequence[float], reach: Sequence[float]) -> tuple[int, int]:
    """Smallest and largest difference of two coordinates among the vertices, in steps."""
    ends = [(a - b) * most / (len(reach) + 1) for a, b, most in zip(first, second, reach, strict=True)]
    low, high = sum(min(end, 0.0) for end in ends), sum(max(end, 0.0) for end in ends)
    return math.ceil(low - 1 - SLACK), math.floor(high + 1 + SLACK)


def elevated(features: Tensor) -> Tensor:
    """(d,N) -> (d+1,N): the features in the plane of the lattice, summed in the order of the original code.

    >>> elevated(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))  # the columns sum to 0
    tensor([[ 1.7321,  1.0000],
            [-1.7321,  1.0000],
            [ 0.0000, -2.0000]])
    """
    d = len(features)
    result = features.new_empty(d + 1, features.shape[1])
    above = torch.zeros_like(features[0])
    for axis in range(d, 0, -1):
        scaled = features[axis - 1] * (math.sqrt(2 / 3) * (d + 1) / math.sqrt(axis * (axis + 1)))
        result[axis] = above - scaled * axis
        above = above + scaled
    result[0] = above
    return result


def simplices(features: Tensor, steps: Sequence[int], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The simplex around every feature.

    Args:
        features: (d,N) float32.
        steps: of `VertexCodes`.
        dtype: of the codes.

    Returns:
        Codes of its d+1 vertices, less the origin, and their barycentric weights, both (d+1,N).
    """
    place = elevated(features)
    d, size = len(features), len(place)
    nearest = (place * (1 / size)).round_()
    rank = _ranks(place - nearest * size) + nearest.sum(0).to(torch.int8)
    wrap = (rank < 0).to(torch.int8) - (rank > d).to(torch.int8)  # rounded off the plane: bring it back
    rank = (rank + wrap * size).long()
    nearest += wrap
    rest = torch.empty_like(place).scatter_(0, rank, (place - nearest * size) * (1 / size))
    weights = torch.empty_like(rest)
    torch.sub(rest[:-1], rest[1:], out=weights[:-1])
    weights[d] = rest[d] + (1 - rest[0])
    column = torch.stack([torch.full((), step, dtype=dtype, device=place.device) for step in steps])[:, None]
    sorted_steps = torch.empty_like(rank, dtype=dtype).scatter_(0, rank, column.expand_as(rank))
    codes = nearest.to(dtype) * column
    codes[d] = codes.sum(0, dtype=dtype)
    for vertex in range(d - 1, -1, -1):
        torch.sub(codes[vertex + 1], sorted_steps[vertex + 1], out=codes[vertex])
    return codes, weights


def _ranks(rest: Tensor) -> Tensor:
    """(d+1,N) rank of every coordinate among the others, 0 for the largest; of equal ones the earlier comes first."""
    rank = torch.zeros_like(rest, dtype=torch.int8)
    for first in range(len(rest)):
        for second in range(first + 1, len(rest)):
            smaller = rest[first] < rest[second]
            rank[first] += smaller
            rank[second] += ~smaller
    return rank


@dataclass(frozen=True)
class SparseLattice:
    """Splat, blur along every axis in order, slice: sparse matrices whose shapes do not depend on the images.

    Attributes:
        splatting: (V,N), adds pixels to the vertices around them, in the order of the pixels.
        blurring: d+1 times (V,V), adds half of both neighbours.
        slicing: (N,V), the transpose of `splatting`, unless normalised.
    """

    splatting: Tensor
    blurring: tuple[Tensor, ...]
    slicing: Tensor

    def scratch(self, channels: int) -> tuple[Tensor, Tensor]:
        """Room for the values of the vertices, to be used for every call of an inference."""
        shape = (self.splatting.shape[0], channels)
        values = self.splatting.values()
        return values.new_zeros(shape), values.new_zeros(shape)

    def add_to(self, total: Tensor, values: Tensor, scratch: tuple[Tensor, Tensor]) -> None:
        """Adds the filtered values to `total`, both (N,K); adds nothing outside the valid boxes."""
        old, new = scratch
        torch.addmm(old, self.splatting, values, beta=0, out=old)
        for axis in self.blurring:
            torch.addmm(new, axis, old, beta=0, out=new)
            old, new = new, old
        torch.addmm(total, self.slicing, old, out=total)

    def __call__(self, values: Tensor) -> Tensor:
        """(N,K) -> (N,K), zero outside the valid boxes."""
        total = torch.zeros_like(values)
        self.add_to(total, values, self.scratch(values.shape[1]))
        return total

    def normalised(self, weight: float) -> "SparseLattice":
        """The filter weight * D K D with D = 1 / sqrt(K 1), which costs an inference no more than K does."""
        ones = self.splatting.values().new_ones(len(self.slicing), 1)
        norm = (self(ones)[:, 0] + 1e-20).sqrt().reciprocal()
        before = self.splatting.values() * norm.index_select(0, self.splatting.col_indices())
        after = self.slicing.values().view(len(norm), -1) * (norm * weight)[:, None]
        return SparseLattice(_like(self.splatting, before), self.blurring, _like(self.slicing, after.flatten()))


def lattice(features: Tensor, valid: Tensor, reach: tuple[float, ...], *, counted: bool) -> SparseLattice:
    """The lattice of a batch; images share no vertex, and pixels outside their box touch none.

    Args:
        features: (d,B,P) float32 in [0, reach].
        valid: (B,P) bool.
        reach: (d) largest values.
        counted: the host asks the device how many vertices there are, and waits for it. Otherwise there is room for
            as many as there can be, d+1 for each pixel, and nothing waits.

    Raises:
        ValueError: the features reach so far that 64 bits do not suffice to tell vertices apart.

    >>> features = torch.tensor([[[1.0, 1.0, 9.0]], [[1.0, 1.0, 2.0]]])  # (d,B,P): two pixels alike, one far from them
    >>> made = lattice(features, torch.tensor([[True, True, True]]), (9.0, 2.0), counted=True)
    >>> made(torch.tensor([[5.0], [3.0], [0.0]])).sign().flatten().tolist()  # the pixels alike share their values
    [1.0, 1.0, 0.0]
    """
    codes, corners = codes_of(reach), len(features) + 1
    nobody = (len(valid) + 1) * codes.count  # the first code of the rows that belong to no vertex
    last = nobody + valid.numel() // CROWD + 1
    dtype = _dtype(last + codes.count)
    keys, weights = _references(features, valid, codes, nobody, dtype)
    keys, order = keys.sort(stable=True)
    first = torch.ones_like(keys, dtype=torch.bool)
    torch.ne(keys[1:], keys[:-1], out=first[1:])
    used, room = len(keys), min(len(keys), len(valid) * codes.count) + last - nobody
    if counted:
        real = keys < nobody
        used, room = int(real.sum()), int((first & real).sum())
    rows = (first.cumsum(0) - 1).clamp_max_(room)  # the row `room` is the one that is always zero
    index = _dtype(max(3 * room + 3, len(keys)))
    starts = _starts(rows[:used], first[:used], room + 1)
    vertices = keys.index_select(0, starts[:-1].clamp_max(len(keys) - 1)).masked_fill_(starts[:-1] == used, last)
    pixels = (order[:used] // corners).clamp_max_(valid.numel() - 1)  # those of the zero feature weigh nothing
    own = torch.empty_like(rows, dtype=index).scatter_(0, order, rows.to(index))[: valid.numel() * corners]
    ends = torch.arange(valid.numel() + 1, device=rows.device, dtype=index) * corners
    shape = (room + 1, valid.numel())
    return SparseLattice(
        splatting=_csr(starts.to(index), pixels.to(index), weights.index_select(0, order[:used]), shape),
        blurring=_blurring(vertices, codes.steps, index),
        slicing=_csr(ends, own, weights[: len(own)], shape[::-1]),
    )


def _dtype(largest: int) -> torch.dtype:
    if largest >= INT64:
        raise ValueError("the standard deviations of the CRF are too small for images of this size and number")
    return torch.int32 if largest < INT32 else torch.int64


def _references(
    features: Tensor, valid: Tensor, codes: VertexCodes, nobody: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Codes and weights, pixel by pixel with d+1 vertices each, then those of the zero feature of each image."""
    corners, batch = len(features) + 1, len(valid)
    device, own = valid.device, corners * valid.numel()
    image = torch.arange(batch, device=device, dtype=dtype) * codes.count + codes.origin
    keys = torch.empty(own + batch * corners, device=device, dtype=dtype)
    weights = torch.zeros(len(keys), device=device)
    vertices, shares = simplices(features.flatten(1), codes.steps, dtype)
    crowd = torch.arange(valid.numel(), device=device, dtype=dtype) // CROWD + nobody
    vertices = torch.where(valid.flatten(), vertices + image[:, None].expand_as(valid).flatten(), crowd)
    keys[:own].view(-1, corners).copy_(vertices.T)
    weights[:own].view(-1, corners).copy_((shares * valid.flatten()).T)
    zero, _ = simplices(features.new_zeros(len(features), 1), codes.steps, dtype)
    even = valid.sum(1, keepdim=True) % 4 == 0
    keys[own:].view(batch, corners).copy_((zero.T + image[:, None]).masked_fill(even, nobody))
    return keys, weights


def _starts(rows: Tensor, first: Tensor, count: int) -> Tensor:
    """(count + 1) where each row begins, `len(rows)` if it is empty; `rows` ascend, `first` marks where they begin."""
    starts = torch.full((count + 2,), len(rows), device=rows.device)
    here = torch.arange(len(rows), device=rows.device)
    starts.scatter_(0, torch.where(first, rows, count + 1), here)
    return starts[: count + 1]


def _blurring(vertices: Tensor, steps: Sequence[int], index: torch.dtype) -> tuple[Tensor, ...]:
    """Own value and half of both neighbours, where there are any; `vertices` ascend, the last row is always zero."""
    room = len(vertices) - 1
    here = torch.arange(room + 1, device=vertices.device)
    starts = torch.arange(room + 2, device=vertices.device, dtype=index) * 3
    weights = torch.full((room + 1, 3), 0.5, device=vertices.device)
    weights[:, 0] = 1
    axes = []
    for step in steps:
        wanted = vertices + step
        after = torch.searchsorted(vertices, wanted).clamp_max(room)
        after = torch.where(vertices.index_select(0, after) == wanted, after, room)
        before = torch.full_like(after, room).scatter_(0, after, here)
        before[room:] = room
        columns = torch.empty(room + 1, 3, dtype=index, device=vertices.device)
        for position, neighbour in enumerate((here, after, before)):
            columns[:, position] = neighbour
        axes.append(_csr(starts, columns.flatten(), weights.flatten(), (room + 1, room + 1)))
    return tuple(axes)


def _csr(starts: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    _hear_the_warning()
    return torch.sparse_csr_tensor(starts, columns, values, shape, check_invariants=False)


@cache
def _hear_the_warning() -> None:
    """Triggers and hides the warning that PyTorch gives once in a process: sparse CSR tensors are in beta."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        none = torch.zeros(0)
        torch.sparse_csr_tensor(torch.zeros(2).long(), none.long(), none, (1, 1), check_invariants=False)


def _like(matrix: Tensor, values: Tensor) -> Tensor:
    return _csr(matrix.crow_indices(), matrix.col_indices(), values, (matrix.shape[0], matrix.shape[1]))
