"""Stage 2 of CAUSE: a contrastive loss draws features together whose codes in the clusterbook are alike."""

from copy import deepcopy
from typing import Any, Self

import torch
from torch import Tensor, nn

from dhr.core.numerics import unit_vectors
from dhr.uss.cause import CauseHead
from dhr.uss.cause.bank import Bank
from dhr.uss.cause.contrast import Relation, contrast
from dhr.uss.cause.settings import HeadSettings
from dhr.uss.training.crops import UnlabelledCrop
from dhr.uss.training.module import FrozenModel, UssModule, of_all_processes, processes, sum_of_all_processes
from dhr.uss.training.sampling import at_cells, one_per_window


class Projected(nn.Module):
    """A head and the projection that only training needs."""

    def __init__(self, head: CauseHead, *, width: int, projection: int) -> None:
        super().__init__()
        self.head = head
        self.projection = nn.Linear(width, projection)

    def forward(self, tokens: Tensor, codebook: Tensor, cells: Tensor) -> Tensor:
        """Tokens (B,D,h,w) -> (B,n,E) at the cells (B,n)."""
        return self.projection(at_cells(self.head(tokens, codebook), cells)).float()


class HeadModule(UssModule):
    """Trains a head and keeps its moving average, which is the product.

    Features of the student are contrasted with those of the average, of the same batch (itself left out) and of a
    bank of earlier ones. Several processes do what one with all their crops would do: candidates are exchanged, every
    bank gets the same, and the sums are divided by the pairs of all.

    Args:
        tokens: the frozen backbone.
        head: as it starts.
        codebook: (K,D), frozen.
        settings: of the stage.
        window: one token of every window x window cells is used.
        seed: of all random numbers.
    """

    def __init__(
        self, tokens: FrozenModel, head: CauseHead, codebook: Tensor, *, settings: HeadSettings, window: int, seed: int
    ) -> None:
        super().__init__(seed)
        self.tokens = tokens
        self.settings = settings
        self.window = window
        self.student = Projected(head, width=head.tr.f1.out_channels, projection=settings.projection)
        self.average = deepcopy(self.student).requires_grad_(False).eval()
        self.codebook: Tensor
        self.register_buffer("codebook", codebook, persistent=False)
        self.bank = Bank(limit=settings.bank, width=settings.projection)
        self._relation: Relation | None = None

    @property
    def product(self) -> CauseHead:  # type: ignore[override]
        """The averaged head."""
        return self.average.head

    def train(self, mode: bool = True) -> Self:
        """The average stays in eval mode: it drops no channels."""
        super().train(mode)
        self.average.eval()
        return self

    def training_step(self, batch: UnlabelledCrop, _: int) -> Tensor:
        """Loss of one batch of crops."""
        tokens = self.tokens(batch.image)
        cells = one_per_window(batch.key, (tokens.shape[-2], tokens.shape[-1]), self.window)
        codes = (at_cells(tokens, cells) @ unit_vectors(self.codebook, dim=1).T).argmax(2)  # (B,n), of largest cosine
        student = self.student(tokens, self.codebook, cells)
        with torch.no_grad():
            teacher = self.average(tokens, self.codebook, cells)
        everyone = (of_all_processes(codes).flatten(), of_all_processes(teacher).flatten(0, 1))
        # The positions (B*n) of the anchors of this process among the candidates of all processes.
        images, points = codes.shape
        first = (torch.arange(images, device=codes.device) * processes() + self.global_rank) * points
        own = (first[:, None] + torch.arange(points, device=codes.device)).flatten()
        terms = [self._term(student, codes, *everyone, own=own)]
        if len(self.bank):
            terms.append(self._term(student, codes, self.bank.codes, self.bank.vectors))
        loss = torch.stack(terms).mean()
        self.bank.add(*everyone, key=self.step_key("bank"))
        self.report(len(batch.key), loss=loss)
        return loss

    def _term(
        self, student: Tensor, codes: Tensor, others: Tensor, candidates: Tensor, own: Tensor | None = None
    ) -> Tensor:
        """Mean over the pairs of all processes, times their number, since gradients are averaged over them."""
        alike, unlike = self.relation.between(codes.flatten(), others)
        if own is not None:
            alike = alike.scatter(1, own[:, None], False)
        temperature = self.settings.temperature
        total, pairs = contrast(student.flatten(0, 1), candidates, alike, unlike, temperature=temperature)
        return total * processes() / sum_of_all_processes(pairs).clamp_min(1)

    @property
    def relation(self) -> Relation:
        """Which codes attract and which repel; computed once, since the codebook does not change."""
        if self._relation is None:
            thresholds = {"positive": self.settings.positive, "negative": self.settings.negative}
            self._relation = Relation.of(self.codebook, **thresholds)
        return self._relation

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam on the student."""
        settings = self.settings
        return torch.optim.Adam(self.student.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clips the gradient, which is unscaled and averaged over the processes at this point."""
        if self.settings.clip is not None:
            nn.utils.clip_grad_norm_(self.student.parameters(), self.settings.clip)

    def optimizer_step(self, *arguments: Any, **options: Any) -> None:
        """A step of the student, then of its average: here, so that a checkpoint never holds one without the other."""
        super().optimizer_step(*arguments, **options)
        with torch.no_grad():
            for average, student in zip(self.average.parameters(), self.student.parameters(), strict=True):
                average.lerp_(student, 1 - self.settings.ema_decay)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the bank to the checkpoint."""
        checkpoint["bank"] = self.bank.state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restores the bank."""
        self.bank.load(checkpoint["bank"])
