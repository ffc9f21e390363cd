"""From instances to a mask, against a loop over pixels and instances."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from dhr.core.errors import InputError
from dhr.grounder.interface import NOTHING, Found, Task
from dhr.grounder.paint import mask_of, paint

CPU = torch.device("cpu")


def task(first: int) -> Task:
    return Task(("background", "cat", "dog", "bus")[1 - first :], first, (), lambda _: (0, 0))


def found(seed: int, count: int, *, batch: int) -> Found:
    """Instances with equal scores among them, and pixels that no instance, one, or several of them hold."""
    random = torch.Generator().manual_seed(seed)
    scores = (torch.rand(count, generator=random) * 4).round().div(4).sort(descending=True).values
    labels = torch.randint(1, 9, (count,), generator=random)
    masks = torch.rand(count, 6, 7, generator=random) ** 2
    return Found(labels, scores, masks.split(batch) if count else (), 5)


def slowly(given: Found, background: int | None) -> list[list[int]]:
    masks = [*torch.cat([*given.masks])] if len(given.labels) else []
    instances = sorted(
        zip(given.scores.tolist(), given.labels.tolist(), masks, strict=True), key=lambda one: one[0], reverse=True
    )  # stable
    mask = []
    for y in range(6):
        row = []
        for x in range(7):
            label = next((label for _, label, part in instances if part[y, x] > 0.5), None)
            if label is None and background is None:
                products = [score * float(part[y, x]) for score, _, part in instances]
                label = instances[products.index(max(products))][1] if instances else given.likeliest
            row.append(background if label is None else label)
        mask.append(row)
    return mask


@pytest.mark.parametrize("batch", [1, 2, 64])
@pytest.mark.parametrize("count", [0, 1, 2, 5, 9])
@pytest.mark.parametrize("background", [0, None])
def test_masks_equal_a_slow_reference(background: int | None, count: int, batch: int) -> None:
    for seed in range(4):
        made = paint(found(seed, count, batch=batch), (6, 7), background=background)
        assert made.dtype == torch.uint8
        assert made.tolist() == slowly(found(seed, count, batch=batch), background)


def test_the_better_one_lies_above() -> None:
    """By hand: two instances that overlap in the middle; the right end belongs to neither, but rather to the second."""
    masks = torch.tensor([[[0.9, 0.6, 0.1, 0.0]], [[0.0, 0.9, 0.8, 0.4]]])
    given = Found(torch.tensor([2, 1]), torch.tensor([0.8, 0.5]), [masks], 2)
    assert paint(given, (1, 4), background=0).tolist() == [[2, 2, 1, 0]]
    assert paint(given, (1, 4), background=None).tolist() == [[2, 2, 1, 1]]
    worse = Found(torch.tensor([1, 2]), torch.tensor([0.8, 0.5]), [masks.flip(0)], 1)
    assert paint(worse, (1, 4), background=0).tolist() == [[2, 1, 1, 0]]


class Seen:
    """A finder that says what it was asked for, and has no memory but that of the CPU where `only_cpu`."""

    def __init__(self, given: Found, *, only_cpu: bool = False) -> None:
        self.given_back, self.only_cpu = given, only_cpu
        self.asked: list[Sequence[int]] = []

    def settings(self) -> dict[str, object]:
        return {}

    def given(self, image_id: str) -> str:
        return ""

    def __call__(self, image_id: str, pixels: Tensor, labels: Sequence[int], device: torch.device) -> Found:
        self.asked.append(list(labels))
        if self.only_cpu and device.type != "cpu":
            raise torch.OutOfMemoryError("out of memory")
        return self.given_back


def test_without_tags_there_is_background_or_everything_is_looked_for() -> None:
    pixels, some = torch.zeros(3, 6, 7, dtype=torch.uint8), found(0, 3, batch=3)
    with_background, without = Seen(some), Seen(some)
    assert mask_of(with_background, task(1), "a", pixels, [], CPU).unique().tolist() == [0]
    mask_of(without, task(0), "a", pixels, [], CPU)
    mask_of(with_background, task(1), "a", pixels, [2], CPU)
    assert (with_background.asked, without.asked) == ([[2]], [[0, 1, 2]])


def test_an_image_in_which_nothing_is_found() -> None:
    pixels = torch.zeros(3, 6, 7, dtype=torch.uint8)
    assert mask_of(Seen(NOTHING), task(1), "a", pixels, [1], CPU).unique().tolist() == [0]
    with pytest.raises(InputError, match=r"a: nothing was found in it.*give it a box"):
        mask_of(Seen(NOTHING), task(0), "a", pixels, [1], CPU)


def test_where_the_device_has_no_memory_the_cpu_has(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    finder, pixels = Seen(found(1, 3, batch=2), only_cpu=True), torch.zeros(3, 6, 7, dtype=torch.uint8)
    made = mask_of(finder, task(1), "a", pixels, [1], torch.device("meta"))
    assert made.tolist() == slowly(found(1, 3, batch=2), 0)
    assert "a: 6 x 7 pixels on the CPU, for lack of memory" in caplog.text
