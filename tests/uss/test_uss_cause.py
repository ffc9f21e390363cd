"""CAUSE: the head against a plain loop and against the released one."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from cause_heads import Tokens, drawn, head_of, saved
from torch import Tensor, nn

from dhr.core.errors import InputError
from dhr.uss.cause import CauseHead, load_cause, nearest_codes


def attend(attention: nn.MultiheadAttention, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """One head of attention, written out: (N,D) each."""
    weights, biases = attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3)
    q, k, v = (x @ w.T + b for x, w, b in zip((query, key, value), weights, biases, strict=True))
    rows = []
    for each in q:
        shares = torch.exp(k @ each / math.sqrt(len(each)))
        rows.append((shares[:, None] * v).sum(0) / shares.sum())
    return torch.stack(rows) @ attention.out_proj.weight.T + attention.out_proj.bias


def norm(layer: nn.LayerNorm, values: Tensor) -> Tensor:
    centred = values - values.mean(1, keepdim=True)
    return centred / (centred.square().mean(1, keepdim=True) + 1e-5).sqrt() * layer.weight + layer.bias


def nearest(token: Tensor, codebook: Tensor) -> Tensor:
    cosines = [float(token @ code / token.norm() / code.norm()) for code in codebook]
    return codebook[max(range(len(cosines)), key=cosines.__getitem__)]


def plain_head(head: CauseHead, tokens: Tensor, codebook: Tensor, queries: Tensor) -> Tensor:
    """(D,h,w), (C,D) and queries (h*w,D) -> (width,h,w), cell by cell."""
    block, memory = head.tr, tokens.flatten(1).T
    codes = torch.stack([nearest(token, codebook) for token in memory])
    found = norm(block.norm1, codes + attend(block.self_attn, codes + queries, codes + queries, codes))
    found = norm(block.norm2, found + attend(block.multihead_attn, found + queries, memory, memory))
    hidden = (found @ block.linear1.weight.T + block.linear1.bias).clamp_min(0)
    found = memory + norm(block.norm3, found + hidden @ block.linear2.weight.T + block.linear2.bias)
    first, second, last = block.f1, block.f2[0], block.f2[2]
    rows = []
    for cell in found:
        inner = (second.weight[:, :, 0, 0] @ cell + second.bias).clamp_min(0)
        rows.append(first.weight[:, :, 0, 0] @ cell + first.bias + last.weight[:, :, 0, 0] @ inner + last.bias)
    return torch.stack(rows).T.unflatten(1, tokens.shape[1:])


def resized_in_rows(queries: Tensor, length: int) -> Tensor:
    """Linear, along the flattened grid: sample i of n lies at (i + 0.5) * N / n - 0.5."""
    known, rows = len(queries), []
    for number in range(length):
        place = min(max((number + 0.5) * known / length - 0.5, 0), known - 1)
        low, share = int(place), place - int(place)
        rows.append(queries[low] * (1 - share) + queries[min(low + 1, known - 1)] * share)
    return torch.stack(rows)


def resized_in_both(queries: Tensor, grid: tuple[int, int]) -> Tensor:
    """First down every column, then along every row."""
    side = math.isqrt(len(queries))
    square = queries.unflatten(0, (side, side))
    columns = torch.stack([resized_in_rows(square[:, column], grid[0]) for column in range(side)], 1)
    return torch.cat([resized_in_rows(row, grid[1]) for row in columns])


@pytest.mark.parametrize("grid", [(3, 3), (2, 5), (4, 3), (1, 1)])
def test_the_head_is_the_plain_one(grid: tuple[int, int]) -> None:
    tokens, codebook = drawn(2, 12, *grid), drawn(7, 12)
    ours = {"2d": head_of(width=5), "1d": head_of(width=5, query_resize="1d")}
    queries = ours["2d"].query_pos
    expected = {"2d": resized_in_both(queries, grid), "1d": resized_in_rows(queries, grid[0] * grid[1])}
    with torch.no_grad():
        for form, head in ours.items():
            made = head(tokens, codebook)
            assert made.shape == (2, 5, *grid)
            for each, image in zip(made, tokens, strict=True):
                torch.testing.assert_close(
                    each, plain_head(head, image, codebook, expected[form]), rtol=1e-4, atol=1e-4
                )
    if grid not in ((3, 3), (1, 1)):
        assert not torch.allclose(expected["2d"], expected["1d"], atol=1e-3)


def test_codes_are_found_by_direction_and_come_as_they_are() -> None:
    codebook = torch.tensor([[10.0, 0.0], [0.0, 0.1], [-1.0, -1.0], [0.0, 0.0]])
    tokens = torch.tensor([[[0.1, 0.2], [9.0, 8.0], [-5.0, -6.0]]])
    assert torch.equal(nearest_codes(tokens, codebook)[0], codebook[[1, 0, 2]])
    many, codes = drawn(3, 40, 12), drawn(30, 12)
    for image, found in zip(many, nearest_codes(many, codes), strict=True):
        assert torch.equal(found, torch.stack([nearest(token, codes) for token in image]))


def test_the_head_learns_and_drops_in_training_only() -> None:
    head, tokens, codebook = head_of(), drawn(2, 12, 3, 3), drawn(7, 12)
    assert torch.equal(head(tokens, codebook), head(tokens, codebook))
    head.train()
    assert not torch.equal(head(tokens, codebook), head(tokens, codebook))
    head(tokens, codebook).square().sum().backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None and bool((parameter.grad != 0).any()), name


def test_queries_lie_on_a_square() -> None:
    with pytest.raises(InputError, match="cells: 530: the queries lie on a square grid; use 529"):
        CauseHead(dim=4, cells=530)


@pytest.mark.parametrize("option", ["vits14", "vitb14"])
def test_the_released_head(shared: Path, tmp_path: Path, option: str) -> None:
    shapes = json.loads((shared / "golden" / f"official_cause_{option}_decoder_state_dict.json").read_text())
    golden = np.load(shared / "golden" / f"official_cause_{option}_head.npz")
    decoder = {name: sine_weights(name, shape, number) for number, (name, shape) in enumerate(shapes.items())}
    grid = tuple(golden["grid"].tolist())
    features, codebook = torch.from_numpy(golden["features"]), torch.from_numpy(golden["codebook"])
    path = saved(tmp_path / "CAUSE.pt", {"decoder": decoder, "codebook": codebook})
    tokens, expected = features.transpose(1, 2).unflatten(2, grid), torch.from_numpy(golden["output"])
    errors = {}
    for form in ("1d", "2d"):
        head, codes = load_cause(Path(path), Tokens(features.shape[2], 14), query_resize=form)
        with torch.no_grad():
            errors[form] = float((head.eval()(tokens, codes) - expected).abs().max() / expected.abs().max())
    assert errors["1d"] < 1e-4 < 1e-3 < errors["2d"]


def sine_weights(name: str, shape: list[int], number: int) -> Tensor:
    """The formula that fills the golden networks, as far as this head has such parameters."""
    values = np.sin(0.7 * np.arange(math.prod(shape)) + number)
    if len(shape) > 1:
        values *= math.sqrt(2 / math.prod(shape[1:]))
    elif name.endswith("weight"):
        values = 1 + 0.1 * values
    else:
        values *= 0.05
    return torch.from_numpy(values.reshape(shape)).float()
