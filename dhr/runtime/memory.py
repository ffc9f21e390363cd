"""Work that does not fit into memory, done in another way."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
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
    """Name and result of the first way that fits into memory; other errors are not caught.

    Args:
        ways: names and functions, from the fastest to the one that needs least memory; at least one.

    Raises:
        MemoryError: none of them fits.
    """
    tried = []
    for name, way in ways:
        results, message = _attempt(way)
        if results:
            return name, results[0]
        tried.append(f"{name}: {message}" if name else message)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()  # tiles of another size need contiguous memory
    raise MemoryError("; ".join(tried))


def _attempt(way: Callable[[], R]) -> tuple[list[R], str]:
    """The result, or none and the error's message; the error itself would keep the tensors of its frames alive."""
    try:
        return [way()], ""
    except (RuntimeError, MemoryError) as error:
        if not lacks_memory(error):
            raise
        return [], str(error) or type(error).__name__


def in_pieces(count: int, at_once: int, work: Callable[[slice], R]) -> Iterator[R]:
    """What `work` makes of every part of a sequence, in their order; smaller parts where memory runs out.

    Args:
        count: length of the sequence.
        at_once: length of a part; halved, for all that follow too, until one fits.
        work: makes something of a part.

    Raises:
        MemoryError: not even a single element fits.
    """
    start = 0
    while start < count:
        at_once = min(at_once, count - start)
        lengths = [at_once >> halvings for halvings in range(at_once.bit_length())]
        ways = [(f"{length} at once", partial(_piece, work, start, length)) for length in lengths]
        _, (at_once, made) = first_that_fits(ways)
        yield made
        start += at_once


def _piece(work: Callable[[slice], R], start: int, length: int) -> tuple[int, R]:
    return length, work(slice(start, start + length))
