"""Pools of processes that end with their parent, and work that flows through them in bounded memory."""

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from itertools import islice
from multiprocessing import connection
from typing import Any, TypeVar

from dhr.runtime.signals import outlive

T = TypeVar("T")
R = TypeVar("R")
AHEAD = 4  # tasks per worker that wait or are done and not fetched: bounds the memory


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def process_pool(workers: int, start: Callable[..., None] | None = None, *arguments: Any) -> ProcessPoolExecutor:
    """A pool whose processes are new interpreters: a fork of this one, with threads of torch running, could hang.

    They end when this process ends, in whatever way, and not before: a signal that a scheduler sends to all processes
    must not end the helpers of a step that is finished first.

    Args:
        workers: number of processes.
        start: called in each of them first, with `arguments`.
        *arguments: sent to each process once.
    """
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(start, arguments))


def map_ahead(
    pool: Executor, work: Callable[[T], R], items: Iterable[T], *, workers: int, ahead: int = AHEAD
) -> Iterator[R]:
    """The result of `work` for every item, in their order; at most `ahead` items per worker are taken ahead."""
    source = iter(items)
    waiting: deque[Future[R]] = deque(pool.submit(work, item) for item in islice(source, ahead * workers))
    while waiting:
        result = waiting.popleft().result()
        waiting.extend(pool.submit(work, item) for item in islice(source, 1))
        yield result


def _begin(start: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    outlive()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if start is not None:
        start(*arguments)


def _end_with_parent() -> None:
    """Ends this process when its parent has ended, even if killed; it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
