"""The recipe of STEGO: which crops look alike, then a head whose codes correspond where tokens do."""

from copy import deepcopy
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from dhr.core.errors import InputError
from dhr.core.ranges import BatchSize, SmallCount, Width
from dhr.runtime.progress import progress
from dhr.uss.cause.recipe import File
from dhr.uss.head_file import ANSWER, answer_of
from dhr.uss.stego import StegoHead, stego_file
from dhr.uss.stego.neighbours import nearest, stored_index
from dhr.uss.stego.settings import StegoSettings
from dhr.uss.stego.stage import StegoModule
from dhr.uss.training.crops import Crops, PairDataset, UnlabelledCropDataset
from dhr.uss.training.settings import ProbeSettings
from dhr.uss.training.stages import StageRunner


@dataclass(frozen=True)
class StegoRecipe:
    """How a head of STEGO is trained and probed.

    Attributes:
        crops: that are learnt from.
        head: the training.
        probe: of its features.
        batch_size: pairs of crops per step, of all processes together.
        window: one feature of every window x window is used by the probes.
        width: channels of the features.
    """

    crops: Crops
    head: StegoSettings
    probe: ProbeSettings
    batch_size: BatchSize = 16
    window: SmallCount = 1
    width: Width = 70

    def train(self, runner: StageRunner) -> tuple[File, File]:
        """The trained head, and the same head before."""
        tokens, views = runner.tokens, runner.views(self.crops)
        answer, head = answer_of(tokens), StegoHead(dim=tokens.dim, width=self.width)
        untrained = deepcopy(head)
        count = self.head.neighbours
        if len(views) <= count:
            key = f"{runner.place}.head.neighbours"
            raise InputError(f"{key}: {count}: there are only {len(views)} crops; use {key}={len(views) - 1} or less")
        settings = {
            "ids": views.split.all_ids(),
            "crops": asdict(self.crops),
            "seed": runner.seed,
            "tokens": runner.described,
            "count": count,
        }
        path = runner.folder / "neighbours.safetensors"
        pairs = PairDataset(views, stored_index(path, settings, lambda: nearest(pooled(runner, views), count)))
        module = StegoModule(tokens, head, settings=self.head, seed=runner.seed)
        trained = runner.run("head", module, pairs, self.head).product
        patch = tokens.patch_size
        after, before = ({**stego_file(each, patch_size=patch), ANSWER: answer} for each in (trained, untrained))
        return after, before


def pooled(runner: StageRunner, views: UnlabelledCropDataset) -> Tensor:
    """(crops, D) mean token of every crop of the first epoch."""
    device, loader = runner.ranks.device, runner.loader(views)
    batches = progress(loader, "neighbours", total=len(loader), visible=runner.ranks.first)
    return torch.cat([runner.tokens(batch.image.to(device)).mean((2, 3)).cpu() for batch in batches])
