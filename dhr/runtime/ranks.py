"""Which of several processes this is, for work that they share, and means over them.

Stages that share out images, such as predict, evaluate and extract_uss, are started by torchrun:
python -m torch.distributed.run --nproc_per_node=2 -m dhr.predict run=... Training starts its processes by itself.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, distributed

T = TypeVar("T")


def are_several() -> bool:
    """Whether this process belongs to a process group, of torchrun or, in training, of Lightning."""
    return distributed.is_available() and distributed.is_initialized()


def mean_over_ranks(number: Tensor) -> Tensor:
    """The mean of a number over the processes of a training, as float32; the number itself in a single process.

    DDP averages gradients. So if every process divides its sum of losses by this mean, the processes learn what a
    single one would learn from all their images. A collective operation: every process has to call it.
    """
    mean = number.detach().to(torch.float32, copy=True)
    if are_several():
        distributed.all_reduce(mean)
        mean = mean / distributed.get_world_size()
    return mean


@dataclass(frozen=True)
class Ranks:
    """Place of this process among its siblings, and the device it computes on."""

    rank: int
    count: int
    device: torch.device

    @classmethod
    def join(cls) -> "Ranks":
        """Joins the process group that torchrun describes, or stands alone."""
        count, local = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
        on_gpu = torch.cuda.is_available()
        device = torch.device("cuda", local % torch.cuda.device_count()) if on_gpu else torch.device("cpu")
        if count > 1 and not distributed.is_initialized():
            distributed.init_process_group("gloo")  # counts and barriers are all that is exchanged, from CPU memory
        return cls(rank=int(os.environ.get("RANK", "0")), count=count, device=device)

    @property
    def first(self) -> bool:
        """Whether this process writes what is written once."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """This process's part: every item belongs to exactly one process, whatever their number."""
        return items[self.rank :: self.count]

    def of_all(self, items: Sequence[T]) -> list[T]:
        """The items of all processes. A collective operation: every process has to call it."""
        if self.count == 1:
            return list(items)
        parts: list[Sequence[T]] = [()] * self.count
        distributed.all_gather_object(parts, items)
        return [item for part in parts for item in part]

    def wait(self) -> None:
        """Returns when every process has called it."""
        if self.count > 1:
            distributed.barrier()

    def leave(self) -> None:
        """Leaves the process group, so that no process hangs at its end."""
        if self.count > 1 and distributed.is_initialized():
            distributed.destroy_process_group()
