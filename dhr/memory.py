"""What to do when memory does not suffice: the same work in smaller pieces, never less of it."""

from collections.abc import Callable, Iterable
from typing import TypeVar

import torch

R = TypeVar("R")
# torch.OutOfMemoryError is what the allocator of a GPU raises; these are the words of the driver, cuBLAS and the CPU.
LACK = ("out of memory", "can't allocate memory", "ALLOC_FAILED")


def lacks_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a GPU or on the CPU."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in LACK)


def first_that_fits(ways: Iterable[tuple[str, Callable[[], R]]]) -> tuple[str, R]:
    """Name and result of the first way that memory suffices for; every other error passes through.

    Args:
        ways: names and what they do, from the fastest to the most frugal; at least one.

    Raises:
        MemoryError: none of them fits.
    """
    tried = []
    for name, way in ways:
        results, said = _attempt(way)
        if results:
            return name, results[0]
        tried.append(f"{name}: {said}" if name else said)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()  # pieces of another size need room in one piece
    raise MemoryError("; ".join(tried))


def _attempt(way: Callable[[], R]) -> tuple[list[R], str]:
    """The result, or none and what was said. The error must end here: it keeps the tensors of its frames alive."""
    try:
        return [way()], ""
    except (RuntimeError, MemoryError) as error:
        if not lacks_memory(error):
            raise
        return [], str(error) or type(error).__name__
