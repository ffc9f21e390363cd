"""One trial tells these tests as much of the time that a step takes as three."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def one_trial() -> Iterator[None]:
    """Of one image; what the trials of a step come to is asked where it is the subject."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dhr.wss.recipe.TRIALS", 1)
        patch.setattr("dhr.wss.steps.TRIED", 1)
        yield
