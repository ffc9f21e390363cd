"""One form for every progress bar: count, rate and time left."""

from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

T = TypeVar("T")


class RateColumn(ProgressColumn):
    """Items per second."""

    def render(self, task: Task) -> Text:
        """The rate, empty before the first item."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f}/s")


def progress(items: Iterable[T], title: str, *, total: int | None = None, visible: bool = True) -> Iterator[T]:
    """Yields `items` under a bar with count, rate and time left.

    Args:
        items: whatever is to be yielded.
        title: text in front of the bar.
        total: number of items, where `items` has no length.
        visible: False on all ranks but the first.
    """
    count = total if total is not None else len(items) if isinstance(items, Sized) else None
    columns = (
        TextColumn("{task.description}", markup=False),  # a folder may be called [red]
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, disable=not visible) as bar:
        yield from bar.track(items, total=count, description=title)
