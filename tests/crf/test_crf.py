"""Dense CRFs: one contract for all, and pydensecrf as if it were called by hand."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from reference_crf import by_hand
from torch import Tensor

from dhr.crf.interface import Crf, normalised
from dhr.crf.none import NoCrf
from dhr.crf.potentials import Potentials
from dhr.crf.pydensecrf import PyDenseCrf

SIZE = (24, 32)
SETTINGS = {"gaussian_sxy": 2.0, "bilateral_sxy": 20.0, "bilateral_srgb": 9.0, "bilateral_weight": 5.0}
IN_PROCESS = PyDenseCrf(workers=0, **SETTINGS)


@pytest.fixture(scope="module")
def pooled() -> Iterator[PyDenseCrf]:
    crf = PyDenseCrf(workers=2, **SETTINGS)
    yield crf
    for pool in crf._pools:
        pool.shutdown()


def batch() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Four noisy images of two surfaces, with other valid boxes and other present classes each."""
    generator = torch.Generator().manual_seed(0)
    left = (torch.arange(SIZE[1]) < 18).expand(SIZE)
    probabilities = torch.rand(4, 4, *SIZE, generator=generator)
    probabilities[:, 0] += 0.6 * left
    probabilities[:, 2] += 0.6 * ~left
    colours = torch.where(left, 80, 150) + torch.randint(-15, 15, (4, 3, *SIZE), generator=generator)
    valid = torch.zeros(4, *SIZE, dtype=torch.bool)
    for image, (rows, columns) in enumerate(
        [((0, 24), (0, 32)), ((4, 20), (3, 32)), ((0, 9), (5, 30)), ((3, 24), (0, 7))]
    ):
        valid[image, slice(*rows), slice(*columns)] = True
    present = torch.tensor([[1, 1, 1, 1], [1, 0, 1, 0], [0, 1, 1, 1], [0, 0, 1, 0]]) > 0
    return probabilities, colours.to(torch.uint8), valid, present


def refined(crf: Crf, probabilities: Tensor, pixels: Tensor, valid: Tensor, present: Tensor) -> Tensor:
    """One inference on a field of its own."""
    return crf.on(pixels, valid)(probabilities, present)


def test_equals_pydensecrf_image_by_image() -> None:
    probabilities, pixels, valid, present = batch()
    result = refined(IN_PROCESS, probabilities, pixels, valid, present)
    for image in range(3):
        rows, columns = np.nonzero(valid[image].any(1))[:, 0], np.nonzero(valid[image].any(0))[:, 0]
        box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        scores = probabilities[image][present[image]].numpy()[:, *box]
        expected = by_hand(scores / scores.sum(0), pixels[image].permute(1, 2, 0).numpy()[box], Potentials(**SETTINGS))
        np.testing.assert_allclose(result[image][present[image]].numpy()[:, *box], expected, atol=1e-5)


def test_workers_do_not_change_the_result(pooled: PyDenseCrf) -> None:
    assert torch.equal(refined(pooled, *batch()), refined(IN_PROCESS, *batch()))


@pytest.mark.parametrize("crf", ["pooled", "alone"])
def test_a_second_inference_equals_one_on_a_new_field(pooled: PyDenseCrf, crf: str) -> None:
    """The kept terms give the same bits, also where an image has fewer classes the second time."""
    probabilities, pixels, valid, present = batch()
    engine = pooled if crf == "pooled" else IN_PROCESS
    field = engine.on(pixels, valid)
    field(probabilities, present)
    fewer = present.clone()
    fewer[0, 1] = fewer[2, 3] = False
    for again in (present, fewer, present):
        other = probabilities.flip(1)
        assert torch.equal(field(other, again), refined(IN_PROCESS, other, pixels, valid, again))


def test_a_pool_refuses_and_goes_on(pooled: PyDenseCrf) -> None:
    probabilities, *others = batch()
    with pytest.raises(ValueError, match="NaN"):
        refined(pooled, probabilities * torch.nan, *others)
    assert torch.equal(refined(pooled, probabilities, *others), refined(IN_PROCESS, *batch()))


@pytest.mark.parametrize("crf", [NoCrf(), IN_PROCESS])
def test_marginals_sum_to_one_over_present_classes_in_the_box(crf: Crf) -> None:
    probabilities, pixels, valid, present = batch()
    result = refined(crf, probabilities, pixels, valid, present)
    torch.testing.assert_close(result.sum(1), valid.float())
    assert bool((result[~present] == 0).all())
    assert bool((result >= 0).all())
    torch.testing.assert_close(result[3, 2], valid[3].float())


@pytest.mark.parametrize("crf", [NoCrf(), IN_PROCESS])
def test_a_batch_equals_one_by_one(crf: Crf) -> None:
    together = refined(crf, *batch())
    for image in range(4):
        alone = refined(crf, *(part[image : image + 1] for part in batch()))
        assert torch.equal(alone[0], together[image])


@pytest.mark.parametrize("crf", [NoCrf(), IN_PROCESS])
def test_padding_and_empty_slots_have_no_effect(crf: Crf) -> None:
    probabilities, pixels, valid, present = batch()
    expected = refined(crf, probabilities, pixels, valid, present)
    wide = torch.rand(4, 7, 40, 50, generator=torch.Generator().manual_seed(1))
    wide[:, :4, 9:33, 11:43] = probabilities
    colours = torch.full((4, 3, 40, 50), 255, dtype=torch.uint8)
    colours[..., 9:33, 11:43] = pixels
    box = torch.zeros(4, 40, 50, dtype=torch.bool)
    box[:, 9:33, 11:43] = valid
    slots = torch.cat([present, torch.zeros(4, 3, dtype=torch.bool)], 1)
    padded = refined(crf, wide, colours, box, slots)
    torch.testing.assert_close(padded[:, :4, 9:33, 11:43], expected, atol=1e-6, rtol=0)
    assert float(padded.sum()) == pytest.approx(float(expected.sum()))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.1])
@pytest.mark.parametrize("crf", [NoCrf(), IN_PROCESS])
def test_nonsense_is_refused(crf: Crf, value: float) -> None:
    probabilities, *others = batch()
    probabilities[3, 0, 0, 0] = value  # even where it would not be looked at
    with pytest.raises(ValueError, match="NaN, infinite or negative"):
        refined(crf, probabilities, *others)


def test_normalised() -> None:
    probabilities, valid = torch.tensor([[3.0, 0.0, 1.0], [1.0, 0.0, 1.0], [4.0, 5.0, 6.0]]), torch.ones(1, 1, 3) > 0
    valid[..., 2] = False
    result = normalised(probabilities.view(1, 3, 1, 3), valid, torch.tensor([[True, True, False]]))
    assert result[0, :, 0].tolist() == [[0.75, 0.5, 0.0], [0.25, 0.5, 0.0], [0.0, 0.0, 0.0]]


@pytest.mark.parametrize("crf", [NoCrf(), IN_PROCESS])
def test_where_nothing_is_valid_or_present_all_is_zero(crf: Crf) -> None:
    probabilities, pixels, valid, present = batch()
    valid[0], present[1] = False, False
    result = refined(crf, probabilities, pixels, valid, present)
    assert bool((result[:2] == 0).all())
    assert torch.equal(result[2:], refined(crf, *batch())[2:])


@pytest.mark.parametrize("crf", [NoCrf(), IN_PROCESS])
def test_the_input_is_left_alone_and_half_precision_is_taken(crf: Crf) -> None:
    probabilities, *others = batch()
    before = probabilities.clone()
    expected = refined(crf, probabilities, *others)
    assert torch.equal(probabilities, before)
    half = refined(crf, probabilities.half(), *others)
    assert bool(torch.isfinite(half).all())
    assert float((half.float() - expected).abs().mean()) < 5e-3


def test_the_image_decides_where_the_border_lies() -> None:
    left = (torch.arange(SIZE[1]) < 18).expand(SIZE)
    right = torch.where((torch.arange(SIZE[1]) < 14).expand(SIZE), 0.3, 0.7)  # four columns off
    noise = torch.rand(1, *SIZE, generator=torch.Generator().manual_seed(0)) < 0.05
    right = torch.where(noise, 1 - right, right)
    pixels = torch.where(left, 40, 200).expand(1, 3, *SIZE).to(torch.uint8)
    everything = torch.ones(1, *SIZE, dtype=torch.bool), torch.ones(1, 2, dtype=torch.bool)
    result = refined(IN_PROCESS, torch.stack([1 - right, right], 1), pixels, *everything).argmax(1)[0] == 1
    assert float((result == ~left).float().mean()) > 0.99
