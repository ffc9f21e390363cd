"""The mathematics of training unsupervised features, each formula against loops that say the same."""

import itertools
import math
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
import torch
from tiny import environment
from torch import Tensor
from torch.nn.functional import cosine_similarity

from dhr.core.errors import InputError
from dhr.uss.cause.bank import Bank
from dhr.uss.cause.contrast import Relation, contrast
from dhr.uss.stego import neighbours as knn
from dhr.uss.stego.losses import centred, correspondence_loss, cosines, derangement
from dhr.uss.training.crops import BLOCK, BlockSampler, Crops, Length
from dhr.uss.training.modularity import modularity_loss
from dhr.uss.training.module import nearest_code_loss
from dhr.uss.training.sampling import at_cells, at_points, one_per_window, random_points


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


# Modularity


def slow_modularity(tokens: Tensor, codes: Tensor) -> Tensor:
    """The definition, one entry at a time, with every product of code similarities."""
    total = torch.zeros((), dtype=tokens.dtype)
    for image in tokens:
        count = len(image)
        edges = torch.zeros(count, count, dtype=tokens.dtype)
        for i, j in itertools.permutations(range(count), 2):
            edges[i, j] = cosine_similarity(image[i], image[j], dim=0).relu()
        similar = torch.stack([cosine_similarity(each[None], codes, dim=1).relu() for each in image])
        degrees, volume = edges.sum(1), edges.sum()
        for i, j in itertools.product(range(count), repeat=2):
            delta = torch.stack([torch.tanh(a * b / 0.1) for a, b in zip(similar[i], similar[j], strict=True)]).max()
            total = total - (edges[i, j] - degrees[i] * degrees[j] / volume) / volume * delta
    return total / len(tokens)


@pytest.mark.parametrize("at_once", [1, 2**22])
def test_modularity_is_the_definition(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dhr.uss.training.modularity.AT_ONCE", at_once)
    tokens, codes = random(2, 7, 5), random(4, 5, seed=1)
    ours, slow = codes.clone().requires_grad_(), codes.clone().requires_grad_()
    loss, expected = modularity_loss(tokens, ours), slow_modularity(tokens, slow)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()
    assert ours.grad is not None and bool((ours.grad != 0).any())
    torch.testing.assert_close(ours.grad, slow.grad)
    torch.autograd.gradcheck(lambda given: modularity_loss(tokens, given), codes.clone().requires_grad_())


@pytest.mark.parametrize("kind", ["equal", "zero", "one", "orthogonal"])
def test_modularity_of_tokens_without_structure_is_a_number(kind: str) -> None:
    tokens = {
        "equal": torch.ones(1, 6, 4), "zero": torch.zeros(1, 6, 4), "one": random(1, 1, 4).float(),
        "orthogonal": torch.eye(4)[None],
    }[kind]  # fmt: skip
    codes = random(3, 4).float().requires_grad_()
    loss = modularity_loss(tokens, codes)
    loss.backward()
    assert bool(torch.isfinite(loss)) and codes.grad is not None and bool(torch.isfinite(codes.grad).all())
    if kind != "equal":
        assert float(loss.detach()) == 0


def test_no_gradient_reaches_the_tokens() -> None:
    tokens, codes = random(1, 5, 3).requires_grad_(), random(2, 3, seed=1).requires_grad_()
    (modularity_loss(tokens, codes) + nearest_code_loss(tokens, codes)).backward()
    assert tokens.grad is None and codes.grad is not None


@pytest.mark.slow
def test_modularity_of_a_whole_clusterbook_stays_small() -> None:
    """An image of 529 tokens with 2,048 codes: all products at once would take 2.3 GB, and as much for gradients."""
    code = (
        "import resource, torch; from dhr.uss.training.modularity import modularity_loss\n"
        "codes = torch.randn(2048, 64).requires_grad_(); tokens = torch.randn(1, 529, 64)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "modularity_loss(tokens, codes).backward()\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert int(done.stdout) < 300_000  # kilobytes


# Contrast and bank


def slow_contrast(anchors: Tensor, candidates: Tensor, alike: Tensor, unlike: Tensor, heat: float) -> tuple[float, int]:
    total, pairs = 0.0, 0
    for i, j in itertools.product(range(len(anchors)), range(len(candidates))):
        if alike[i, j]:
            compared = [k for k in range(len(candidates)) if alike[i, k] or unlike[i, k]]
            scores = {k: float(cosine_similarity(anchors[i], candidates[k], dim=0)) / heat for k in compared}
            total += -scores[j] + math.log(sum(math.exp(score) for score in scores.values()))
            pairs += 1
    return total, pairs


def test_contrast_is_the_definition() -> None:
    anchors, candidates = random(6, 4), random(9, 4, seed=1)
    generator = torch.Generator().manual_seed(2)
    chosen = torch.randint(0, 3, (6, 9), generator=generator)
    chosen[2] = 1  # an anchor that only repels, and one that is compared with nobody
    chosen[3] = 2
    total, pairs = contrast(anchors, candidates, chosen == 0, chosen == 1, temperature=0.07)
    expected = slow_contrast(anchors, candidates, chosen == 0, chosen == 1, 0.07)
    assert (float(total), int(pairs)) == (pytest.approx(expected[0]), expected[1])


def test_contrast_of_nothing_alike_is_zero_and_has_a_gradient() -> None:
    anchors = random(3, 4).requires_grad_()
    nothing = torch.zeros(3, 5, dtype=torch.bool)
    for unlike in (nothing, ~nothing):
        total, pairs = contrast(anchors, random(5, 4, seed=1), nothing, unlike, temperature=0.07)
        (grad,) = torch.autograd.grad(total, anchors)
        assert (float(total), int(pairs)) == (0, 0) and not bool(grad.any())


def test_codes_between_the_thresholds_take_no_part() -> None:
    codebook = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.2, 0.98]])
    relation = Relation.of(codebook, positive=0.3, negative=0.1)
    alike, unlike = relation.between(torch.tensor([0]), torch.arange(4))
    assert alike.tolist() == [[True, True, False, False]] and unlike.tolist() == [[False, False, True, False]]


def test_bank_keeps_the_newest_of_every_code() -> None:
    bank, kept = Bank(limit=3, width=1), {code: [] for code in range(4)}
    for step in range(8):
        generator = torch.Generator().manual_seed(step)
        codes = torch.randint(0, 4, (7,), generator=generator)
        vectors = torch.arange(7.0)[:, None] + 10 * step
        bank.add(codes, vectors, key=step)
        half = torch.randperm(7, generator=torch.Generator().manual_seed(step))[:4]
        for place in half.tolist():
            kept[int(codes[place])] = [*kept[int(codes[place])], float(vectors[place])][-3:]
        held = {code: bank.vectors[bank.codes == code, 0].tolist() for code in range(4)}
        assert held == kept
    other = Bank(limit=3, width=1)
    other.load(bank.state())
    assert len(other) == len(bank) == sum(map(len, kept.values()))


# Sampling and crops


@pytest.mark.parametrize(("grid", "window"), [((23, 23), 4), ((8, 12), 4), ((3, 5), 4), ((4, 6), 1)])
def test_one_token_of_every_window(grid: tuple[int, int], window: int) -> None:
    keys = torch.arange(20)
    cells = one_per_window(keys, grid, window)
    high, wide = min(window, grid[0]), min(window, grid[1])
    rows, columns = cells // grid[1] // high, cells % grid[1] // wide
    expected = torch.arange(grid[0] // high * (grid[1] // wide)).expand(20, -1)
    assert torch.equal(rows * (grid[1] // wide) + columns, expected)
    assert torch.equal(one_per_window(keys[3:5], grid, window), cells[3:5])
    assert window == 1 or bool((cells[0] != cells[1:]).any())
    maps = random(20, 3, *grid)
    picked = at_cells(maps, cells)
    assert torch.equal(picked[4, 0], maps[4, :, cells[4, 0] // grid[1], cells[4, 0] % grid[1]])


def test_points_are_bilinear_between_the_corners() -> None:
    rows, columns = torch.meshgrid(torch.arange(4.0), torch.arange(6.0), indexing="ij")
    maps = torch.stack([rows, columns])[None]
    points = random_points(torch.tensor([5]), 3)
    expected = (points.flatten(1, 2) + 1) / 2 * torch.tensor([5.0, 3.0])
    torch.testing.assert_close(at_points(maps, points), expected.flip(2))


def test_crops_lie_in_the_image() -> None:
    five = [Crops(32, (0.5, 0.5), "five").box((60, 100), place, Random(0)) for place in range(5)]
    assert five == [(0, 0, 30), (0, 70, 30), (30, 0, 30), (30, 70, 30), (15, 35, 30)]
    torch.manual_seed(0)
    drawn = [Crops(32, (0.3, 0.7), "random").box((60, 100), 0, Random(number)) for number in range(200)]
    assert all(top + side <= 60 and left + side <= 100 and 18 <= side <= 42 for top, left, side in drawn)
    assert len({side for *_, side in drawn}) > 20
    assert [Crops(320).side(patch) for patch in (8, 14, 16)] == [320, 322, 320]
    with pytest.raises(InputError, match="ratios"):
        Crops(320, (0.7, 0.3))


@pytest.mark.parametrize("ranks", [1, 2])
def test_blocks_share_out_the_steps_of_a_stage(ranks: int) -> None:
    length = Length.of(30 // 6, epochs=None, steps=2 * BLOCK + 3)
    assert length.blocks == 3 and Length.of(5, epochs=2, steps=None).steps == Length.of(5, epochs=3, steps=10).steps
    shares = []
    for rank in range(ranks):
        sampler = BlockSampler(30, length, batch_size=6, seed=1, rank=rank, ranks=ranks)
        items = []
        for block in (0, 1, 2):
            sampler.set_epoch(block)
            items += list(sampler)
            assert len(list(sampler)) == len(sampler)
        shares.append(items)
    together = [item for items in zip(*shares, strict=True) for item in items]
    assert len(together) == 6 * length.steps
    assert sorted(together[:30]) == [(0, position) for position in range(30)]
    assert {epoch for epoch, _ in together[30:60]} == {1}
    one = BlockSampler(30, length, batch_size=6, seed=1, rank=0, ranks=1)
    assert list(one) == together[: len(one)]


# STEGO


def test_correspondence_is_the_definition() -> None:
    first, second, codes, others = (random(2, 5, 3, seed=seed) for seed in range(4))
    average = cosines(first, second).mean()
    loss = correspondence_loss(centred(cosines(first, second), average), cosines(codes, others), shift=0.2)
    expected = []
    for image, i, j in itertools.product(range(2), range(5), range(5)):
        similarity = [float(cosine_similarity(first[image, i], second[image, k], dim=0)) for k in range(5)]
        tokens = similarity[j] - sum(similarity) / 5 + float(average)
        code = max(float(cosine_similarity(codes[image, i], others[image, j], dim=0)), 0.0)
        expected.append(-code * (tokens - 0.2))
    assert float(loss) == pytest.approx(sum(expected) / len(expected))


def test_nothing_keeps_its_place_in_a_derangement() -> None:
    torch.manual_seed(0)
    for count in (2, 3, 16):
        drawn = [derangement(count) for _ in range(20)]
        assert all(sorted(order.tolist()) == list(range(count)) for order in drawn)
        assert not any(bool((order == torch.arange(count)).any()) for order in drawn)


@pytest.mark.parametrize("at_once", [1, 50, 2**26])
def test_neighbours_are_exact(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knn, "AT_ONCE", at_once)
    vectors = random(17, 4).float()
    found = knn.nearest(vectors, 3)
    for place, each in enumerate(vectors):
        similarity = {k: float(cosine_similarity(each, vectors[k], dim=0)) for k in range(17) if k != place}
        assert found[place].tolist() == sorted(similarity, key=similarity.__getitem__, reverse=True)[:3]
    with pytest.raises(ValueError, match="17"):
        knn.nearest(vectors, 17)


def test_an_index_is_made_once_for_its_settings(tmp_path: Path) -> None:
    path, made = tmp_path / "neighbours.safetensors", []

    def make() -> Tensor:
        made.append(1)
        return torch.tensor([[len(made)]])

    for settings, expected in (({"seed": 1}, 1), ({"seed": 1}, 1), ({"seed": 2}, 2)):
        assert int(knn.stored_index(path, settings, make)) == expected
    path.write_bytes(path.read_bytes()[:20])
    assert int(knn.stored_index(path, {"seed": 2}, make)) == 3
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
