"""A hundred thousand ids are one array: a loader's worker does not grow with them."""

import pytest
from loader_memory import measure

ROOM = 16  # MiB; a hundred thousand Python strings alone would take more


@pytest.mark.slow
def test_memory_does_not_depend_on_the_number_of_ids() -> None:
    assert measure(100_000) - measure(1) < ROOM
