"""Work in parts that become smaller where memory runs out."""

import pytest
import torch

from dhr.runtime.memory import in_pieces


@pytest.mark.parametrize(("at_once", "room", "expected"), [
    (4, 9, [4, 4, 2]), (16, 16, [10]), (8, 4, [4, 4, 2]), (7, 2, [1] * 10), (6, 3, [3, 3, 3, 1]), (1, 1, [1] * 10),
])  # fmt: skip
def test_every_element_is_worked_on_once_and_in_order(at_once: int, room: int, expected: list[int]) -> None:
    values = torch.arange(10)

    def work(part: slice) -> list[int]:
        found: list[int] = values[part].tolist()
        if len(found) > room:
            raise torch.OutOfMemoryError("out of memory")
        return found

    made = [*in_pieces(10, at_once, work)]
    assert [len(part) for part in made] == expected
    assert [value for part in made for value in part] == [*range(10)]


def test_nothing_needs_no_memory() -> None:
    assert [*in_pieces(0, 4, lambda _: 1 / 0)] == []


def test_other_errors_and_too_little_memory_are_told() -> None:
    def never(part: slice) -> None:
        raise MemoryError("none left")

    with pytest.raises(MemoryError, match="4 at once: none left; 2 at once: none left; 1 at once"):
        next(in_pieces(5, 4, never))
    with pytest.raises(ZeroDivisionError):
        next(in_pieces(5, 4, lambda _: 1 / 0))
