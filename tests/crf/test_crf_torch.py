"""The dense CRF in tensor operations: against plain loops, against pydensecrf, and without waiting for the device."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_crf
import torch
from PIL import Image
from reference_lattice import mean_field, reference_lattice
from test_crf import SETTINGS, batch, refined
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from dhr.crf import permutohedral
from dhr.crf.interface import normalised
from dhr.crf.permutohedral import codes_of, lattice
from dhr.crf.pydensecrf import PyDenseCrf
from dhr.crf.torch import TorchCrf

ALONE = TorchCrf(**SETTINGS)  # a CPU takes image by image
TOGETHER = TorchCrf(images_at_once=4, **SETTINGS)
ROOMY = TorchCrf(images_at_once=4, counted=False, **SETTINGS)  # as on an accelerator

# The lattice


def features_in(reach: tuple[float, ...], count: int, seed: int = 0) -> Tensor:
    """(d,count) in the box, half of them on whole numbers, where roundings and ranks are tied."""
    values = torch.rand(len(reach), count, generator=torch.Generator().manual_seed(seed))
    values *= torch.tensor(reach)[:, None]
    return torch.where(torch.arange(count) % 2 == 0, values, values.floor())


@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize("count", [20, 21, 22, 23])
@pytest.mark.parametrize("reach", [(3.0, 2.0), (1.5, 1.0, 6.0, 6.0, 6.0), (40.0, 30.0, 9.0, 9.0, 9.0)])
def test_the_lattice_equals_plain_loops(reach: tuple[float, ...], count: int, counted: bool) -> None:
    features = features_in(reach, count)
    values = torch.rand(count, 3, generator=torch.Generator().manual_seed(1))
    made = lattice(features[:, None], torch.ones(1, count, dtype=torch.bool), reach, counted=counted)
    plain = reference_lattice(features.T.numpy())
    if counted:
        assert made.splatting.shape[0] - 1 == len(plain.vertices)
    torch.testing.assert_close(made(values), torch.from_numpy(plain(values.double().numpy())).float())


@pytest.mark.parametrize("counted", [True, False])
def test_images_share_no_vertex_and_pixels_outside_touch_none(counted: bool) -> None:
    reach, valid = (3.0, 2.0, 5.0), torch.ones(4, 9, dtype=torch.bool)
    features = features_in(reach, 9).repeat(1, 4, 1).view(3, 4, 9)
    features[:, 3] = features_in(reach, 9, seed=2)
    valid[1, 4:], valid[2] = False, False
    values = torch.rand(36, 2, generator=torch.Generator().manual_seed(3))
    result = lattice(features, valid, reach, counted=counted)(values).view(4, 9, 2)
    for image in (0, 1, 3):
        inside = valid[image]
        plain = reference_lattice(features[:, image, inside].T.numpy())
        expected = torch.from_numpy(plain(values.view(4, 9, 2)[image, inside].double().numpy())).float()
        torch.testing.assert_close(result[image, inside], expected)
    assert not bool(result[~valid].any())


@pytest.mark.parametrize("reach", [(2.0, 3.0), (2.0, 2.0, 2.0), (1.0, 1.5, 4.0, 4.0, 3.0)])
def test_codes_are_whole_numbers_of_their_own(reach: tuple[float, ...]) -> None:
    codes = codes_of(reach)
    plain = reference_lattice(features_in(reach, 400).T.numpy())
    numbers = {vertex: code_of(vertex, codes) for vertex in plain.vertices}
    assert len({*numbers.values()}) == len(numbers)
    assert min(numbers.values()) >= 0 and max(numbers.values()) < codes.count
    for (vertex, number), axis in ((item, axis) for item in numbers.items() for axis in range(len(reach) + 1)):
        ahead = tuple(each - 1 + (len(vertex) if place == axis else 0) for place, each in enumerate(vertex))
        inside = [other for other, taken in numbers.items() if taken == number + codes.steps[axis]]
        assert inside == ([ahead] if ahead in numbers else [])


def code_of(vertex: tuple[int, ...], codes: permutohedral.VertexCodes) -> int:
    size = len(vertex)
    return codes.origin + sum(step * (each // size) for step, each in zip(codes.steps, vertex, strict=True))


def test_the_widest_codes_of_photographs_fit_into_32_bits_for_eight_images() -> None:
    assert 10 * codes_of((511 / 67, 511 / 67, 85.0, 85.0, 85.0)).count < permutohedral.INT32


def test_long_codes_and_long_indices_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = refined(TOGETHER, *batch())
    monkeypatch.setattr(permutohedral, "INT32", 0)
    torch.testing.assert_close(refined(TOGETHER, *batch()), expected, atol=1e-6, rtol=0)


def test_pytorch_does_not_warn_of_its_sparse_matrices() -> None:
    code = "import torch; from dhr.crf.permutohedral import lattice; "
    code += "lattice(torch.rand(2, 1, 9), torch.ones(1, 9) > 0, (1.0, 1.0), counted=True)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not done.stderr


# The CRF


@pytest.mark.parametrize("size", [(6, 8), (5, 9), (7, 6), (5, 7)])
def test_the_mean_field_equals_plain_loops(size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(4)
    scores = torch.rand(1, 3, *size, generator=generator).add(0.1)
    scores /= scores.sum(1, keepdim=True)
    pixels = torch.randint(60, 110, (1, 3, *size), generator=generator).to(torch.uint8)
    everything = torch.ones(1, *size, dtype=torch.bool), torch.ones(1, 3, dtype=torch.bool)
    expected = mean_field(scores[0].double().numpy(), pixels[0].permute(1, 2, 0).numpy(), (2.0, 20.0, 9.0), (3.0, 5.0))
    result = refined(ALONE, scores, pixels, *everything)[0].double()
    torch.testing.assert_close(result, torch.from_numpy(expected), atol=1e-5, rtol=0)


def check_equal(crf: TorchCrf, given: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    """Mean difference to pydensecrf at most 5e-6 and, on 999 of 1000 pixels, the same class."""
    expected = refined(PyDenseCrf(workers=0, **crf_settings(crf)), *given)
    result, inside = refined(crf, *given), given[2]
    assert float((result - expected).abs().mean()) <= 5e-6
    assert float((result.argmax(1) == expected.argmax(1))[inside].float().mean()) >= 0.999


def crf_settings(crf: TorchCrf) -> dict[str, Any]:
    return vars(crf.plain())


@pytest.mark.parametrize("crf", [ALONE, TOGETHER, ROOMY])
def test_equals_pydensecrf(crf: TorchCrf) -> None:
    check_equal(crf, batch())


@pytest.mark.parametrize("size", [(40, 50), (41, 51), (39, 50), (41, 53)])
def test_equals_pydensecrf_with_every_remainder_of_four(size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(5)
    rows, columns = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    light = torch.stack([rows * 4, columns * 3, rows + columns]) + torch.randint(0, 6, (3, *size), generator=generator)
    scores = torch.rand(1, 3, *size, generator=generator) + torch.stack([rows < 20, columns < 25, rows > 30])[None]
    everything = torch.ones(1, *size, dtype=torch.bool), torch.ones(1, 3, dtype=torch.bool)
    check_equal(TorchCrf(), (scores, light[None].to(torch.uint8), *everything))


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (6, 1), (9, 11)])
def test_equals_pydensecrf_where_there_is_little_to_see(size: tuple[int, int]) -> None:
    scores = torch.rand(2, 2, *size, generator=torch.Generator().manual_seed(7))
    pixels = torch.zeros(2, 3, *size, dtype=torch.uint8)
    pixels[1] = 255
    check_equal(TorchCrf(), (scores, pixels, torch.ones(2, *size, dtype=torch.bool), torch.ones(2, 2) > 0))


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["voc2012/VOCdevkit/VOC2012/JPEGImages", "coco2014/train2014"])
def test_equals_pydensecrf_on_photographs(shared: Path, folder: str) -> None:
    paths = sorted((shared / "samples" / folder).glob("*.jpg"))[:3]
    if not paths:
        pytest.skip(f"{folder}: no photographs there")
    pixels = torch.full((len(paths), 3, 660, 660), 127, dtype=torch.uint8)
    valid = torch.zeros(len(paths), 660, 660, dtype=torch.bool)
    for number, path in enumerate(paths):
        photograph = torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)
        box = tuple(slice(5 * number, 5 * number + side) for side in photograph.shape[1:])
        pixels[number, :, *box], valid[number, *box] = photograph, True
    generator = torch.Generator().manual_seed(6)
    coarse = torch.randn(len(paths), 4, 42, 42, generator=generator) * 2
    scores = torch.nn.functional.interpolate(coarse, (660, 660), mode="bilinear").softmax(1)
    present = torch.ones(len(paths), 4, dtype=torch.bool)
    present[1, 2] = False
    check_equal(TorchCrf(images_at_once=3), (scores, pixels, valid, present))


CONTRACT = [
    test_crf.test_marginals_sum_to_one_over_present_classes_in_the_box,
    test_crf.test_a_batch_equals_one_by_one,
    test_crf.test_padding_and_empty_slots_have_no_effect,
    test_crf.test_where_nothing_is_valid_or_present_all_is_zero,
    test_crf.test_the_input_is_left_alone_and_half_precision_is_taken,
]


@pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__)
@pytest.mark.parametrize("crf", [ALONE, TOGETHER, ROOMY])
def test_keeps_the_contract_of_all_crfs(crf: TorchCrf, check: Callable[[TorchCrf], None]) -> None:
    check(crf)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.1])
def test_refuses_nonsense(value: float) -> None:
    test_crf.test_nonsense_is_refused(ALONE, value)


@pytest.mark.parametrize("settings", [{"images_at_once": 4}, {"images_at_once": 3}, {"counted": False}])
def test_options_about_memory_change_nothing(settings: dict[str, Any]) -> None:
    assert torch.equal(refined(TorchCrf(**settings, **SETTINGS), *batch()), refined(ALONE, *batch()))


def test_a_field_serves_many_inferences() -> None:
    probabilities, pixels, valid, present = batch()
    field = ALONE.on(pixels, valid)
    field(probabilities.flip(0), present)
    assert torch.equal(field(probabilities, present), refined(ALONE, *batch()))


def test_autocast_and_gradients_stay_outside() -> None:
    probabilities, *others = batch()
    with torch.autocast("cpu", torch.bfloat16):
        result = refined(ALONE, probabilities.requires_grad_(), *others)
    assert not result.requires_grad
    assert torch.equal(result, refined(ALONE, *batch()))


def test_wrong_arguments_are_refused() -> None:
    _, pixels, valid, _ = batch()
    with pytest.raises(ValueError, match="images_at_once=0"):
        TorchCrf(images_at_once=0)
    with pytest.raises(ValueError, match="float32, not torch.uint8"):
        TorchCrf().on(pixels.float(), valid)
    with pytest.raises(ValueError, match="standard deviations of the CRF are too small"):
        refined(TorchCrf(bilateral_srgb=1e-4), *batch())


# Without waiting


class WaitsError(AssertionError):
    """An operation for which the host waits for an accelerator."""


class NothingWaits(TorchDispatchMode):
    """Refuses what needs a value, or a size that depends on values, on the host, and host data on the device."""

    WAITING = frozenset(
        [
            "_local_scalar_dense",
            "nonzero",
            "nonzero_numpy",
            "masked_select",
            "_unique2",
            "unique_dim",
            "unique_consecutive",
            "bincount",
            "equal",
            "is_nonzero",
            "lift_fresh",
            "repeat_interleave",
            "_to_sparse",
        ]
    )

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        masks = [each for each in args[1] if each is not None and each.dtype == torch.bool] if name == "index" else []
        if name in self.WAITING or masks:
            raise WaitsError(name)
        return func(*args, **(kwargs or {}))


def test_nothing_waits_for_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tolist", "numpy", "cpu"):  # a CPU does these without an operation that could be seen
        monkeypatch.setattr(Tensor, name, lambda *_, name=name: pytest.fail(name))
    probabilities, pixels, valid, present = batch()
    start = normalised(probabilities, valid, present)
    with NothingWaits():
        result = ROOMY.on(pixels, valid).refined(start, present)
    assert torch.equal(result, refined(ALONE, *batch()))
    with NothingWaits(), pytest.raises(WaitsError, match="_local_scalar_dense"):
        ALONE.on(pixels, valid).refined(start, present)


def test_the_check_of_the_input_waits_on_the_cpu_only() -> None:
    probabilities, _, valid, present = batch()
    with NothingWaits(), pytest.raises(WaitsError, match="_local_scalar_dense"):
        normalised(probabilities, valid, present)
    with NothingWaits():
        elsewhere = normalised(probabilities.to("meta"), valid.to("meta"), present.to("meta"))
    assert elsewhere.shape == probabilities.shape


@pytest.mark.gpu
@pytest.mark.skipif(not torch.accelerator.is_available(), reason="no accelerator")
def test_the_accelerator_agrees_with_the_cpu() -> None:
    device = torch.accelerator.current_accelerator()
    given = [part.to(device) for part in batch()]
    for crf in (TorchCrf(**SETTINGS), TOGETHER, ROOMY):
        torch.testing.assert_close(refined(crf, *given).cpu(), refined(ALONE, *batch()), atol=1e-5, rtol=0)
