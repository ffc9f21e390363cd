"""The recipe of CAUSE: a clusterbook of the tokens, then a head trained with a contrastive loss over its codes."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from dhr.core.ranges import BatchSize, SmallCount, Width
from dhr.uss.cause import CauseHead, cause_file
from dhr.uss.cause.settings import ClusterbookSettings, HeadSettings
from dhr.uss.cause.stage import HeadModule
from dhr.uss.head_file import ANSWER, answer_of
from dhr.uss.training.crops import Crops
from dhr.uss.training.modularity import modularity_loss
from dhr.uss.training.module import Codes, CodesModule
from dhr.uss.training.settings import ProbeSettings
from dhr.uss.training.stages import StageRunner

File = Mapping[str, Any]  # what is saved of a head, in the released form


@dataclass(frozen=True)
class CauseRecipe:
    """How a head of CAUSE is trained and probed.

    Attributes:
        crops: that are learnt from.
        clusterbook: stage 1.
        head: stage 2.
        probe: stage 3.
        batch_size: crops per step, of all processes together.
        window: one token of every window x window is used.
        width: channels of the features.
    """

    crops: Crops
    clusterbook: ClusterbookSettings
    head: HeadSettings
    probe: ProbeSettings
    batch_size: BatchSize = 16
    window: SmallCount = 4
    width: Width = 90

    def train(self, runner: StageRunner) -> tuple[File, File]:
        """The head after stages 1 and 2, and the same head before stage 2, both with the clusterbook."""
        tokens, views, seed = runner.tokens, runner.views(self.crops), runner.seed
        answer = answer_of(tokens)
        head = CauseHead(dim=tokens.dim, cells=(views.side // tokens.patch_size) ** 2, width=self.width)
        codes = Codes.random(self.clusterbook.codes, tokens.dim)
        untrained = deepcopy(head)
        first = CodesModule(
            tokens,
            codes,
            objective=modularity_loss,
            lr=self.clusterbook.lr,
            window=self.window,
            halving=None,
            seed=seed,
        )
        codebook = runner.run("clusterbook", first, views, self.clusterbook).product.codes.detach().clone()
        second = HeadModule(tokens, head, codebook, settings=self.head, window=self.window, seed=seed)
        trained = runner.run("head", second, views, self.head).product
        patch = tokens.patch_size
        after, before = (
            {**cause_file(each, codebook, patch_size=patch), ANSWER: answer} for each in (trained, untrained)
        )
        return after, before
