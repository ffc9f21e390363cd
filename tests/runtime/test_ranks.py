"""Two processes learn what one does: a labelled cell, an image, a query count the same whatever process they are in."""

from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch
from reference import IGNORE
from torch import Tensor, distributed, nn

from dhr.core.losses import segmentation_loss, tag_loss
from dhr.core.sample import Queries
from dhr.decoder.mask2former_loss import MaskLoss
from dhr.runtime.ranks import mean_over_ranks

IMAGES, CLASSES, SIDE, RANKS = 4, 5, 8, 2
Loss = Callable[[Tensor, slice], Tensor]


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(3))


def labels() -> Tensor:
    """The first process has one labelled image less and much padding in the other one."""
    made = torch.randint(0, CLASSES, (IMAGES, SIDE, SIDE), generator=torch.Generator().manual_seed(4))
    made[0], made[1, :6], made[3, 0] = IGNORE, IGNORE, IGNORE
    return made


def of_pixels(maps: Tensor, mine: slice) -> Tensor:
    return segmentation_loss(maps, labels()[mine])


def of_tags(maps: Tensor, mine: slice) -> Tensor:
    valid = (labels() != IGNORE)[mine]
    return tag_loss(maps, valid, (torch.arange(CLASSES) % 2).float().expand(len(maps), -1))


def of_queries(maps: Tensor, mine: slice) -> Tensor:
    """The class loss alone: the others draw points anew in every process."""
    rows = maps.flatten(2).mT[:, : CLASSES + 1]
    classes = torch.cat([rows, rows[..., :1]], 2)
    return MaskLoss(mask_weight=0, dice_weight=0, points=16)(
        (Queries(classes, maps[:, :1].repeat(1, 6, 1, 1)),), labels()[mine]
    )


def gradients(loss: Loss, mine: slice) -> list[Tensor]:
    """Of a network without dropout and batch statistics, over some of the images."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.Tanh(), nn.Conv2d(6, CLASSES, 1))
    loss(network(noise(IMAGES, 3, SIDE, SIDE)[mine]), mine).backward()
    return [each.grad for each in network.parameters() if each.grad is not None]


def as_ddp(loss: Loss, rank: int) -> list[list[float]]:
    """The mean over the processes, as DDP takes it."""
    share = IMAGES // RANKS
    found = gradients(loss, slice(rank * share, (rank + 1) * share))
    for each in found:
        distributed.all_reduce(each)
    return [(each / RANKS).flatten().tolist() for each in found]


def of_rank(rank: int) -> float:
    return float(mean_over_ranks(torch.tensor(3 + 4 * rank)))


def _one(rank: int, file: Path, work: Callable[[int], Any], made: Any) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=RANKS)
    made.put(work(rank))
    distributed.destroy_process_group()


def in_two(work: Callable[[int], Any], folder: Path) -> list[Any]:
    """What two processes that wait for each other return, in any order."""
    context = get_context("fork")  # has everything imported already
    made = context.Queue()
    processes = [context.Process(target=_one, args=(rank, folder / "meeting", work, made)) for rank in range(RANKS)]
    for process in processes:
        process.start()
    results = [made.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    return results


def test_a_number_is_averaged_over_the_processes(tmp_path: Path) -> None:
    assert in_two(of_rank, tmp_path) == [5.0, 5.0]
    given = torch.tensor(3.0)
    mean = mean_over_ranks(given)
    assert float(mean) == 3.0
    assert mean.data_ptr() != given.data_ptr()  # the reduction would write into what it was given


@pytest.mark.parametrize("loss", [of_pixels, of_tags, of_queries])
def test_gradients_are_those_of_one_process(loss: Loss, tmp_path: Path) -> None:
    alone = torch.cat([each.flatten() for each in gradients(loss, slice(None))])
    for made in in_two(lambda rank: as_ddp(loss, rank), tmp_path):
        together = torch.cat([torch.tensor(each) for each in made])
        assert float((together - alone).norm() / alone.norm()) < 1e-6
