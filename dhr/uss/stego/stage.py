"""Training of STEGO's head: codes of two images correspond where their tokens do."""

import torch
from torch import Tensor

from dhr.uss.stego import StegoHead
from dhr.uss.stego.losses import centred, correspondence_loss, cosines, derangement
from dhr.uss.stego.settings import StegoSettings, Term
from dhr.uss.training.crops import Pair
from dhr.uss.training.module import FrozenModel, UssModule, processes, sum_of_all_processes
from dhr.uss.training.sampling import at_points, random_points

Points = tuple[Tensor, Tensor]  # tokens and codes of every image at its points, (B,n,D) and (B,n,E)


class StegoModule(UssModule):
    """Trains a head on three kinds of pairs: an image with itself, with a neighbour, with strangers of the batch.

    Several processes compute what one process would, except for the strangers, which each process takes from its own
    crops.

    Args:
        tokens: the frozen backbone.
        head: as it starts.
        settings: of the training.
        seed: of all random numbers.
    """

    product: StegoHead

    def __init__(self, tokens: FrozenModel, head: StegoHead, *, settings: StegoSettings, seed: int) -> None:
        super().__init__(seed)
        self.tokens = tokens
        self.product = head
        self.settings = settings

    def training_step(self, batch: Pair, _: int) -> Tensor:
        """Loss of one batch of pairs."""
        settings = self.settings
        images = len(batch.own.key)
        maps = self.tokens(torch.cat([batch.own.image, batch.other.image]))
        codes = self.product(maps).float()
        first, second = (random_points(crop.key, settings.points) for crop in batch)
        own = (at_points(maps[:images], first), at_points(codes[:images], first))
        other = (at_points(maps[images:], second), at_points(codes[images:], second))
        itself = self._term(settings.own, own, own)
        neighbour = self._term(settings.neighbour, own, other)
        drawn = [derangement(images).to(self.device) for _ in range(settings.derangements)]
        others = [(at_points(maps[order], second), at_points(codes[order], second)) for order in drawn]
        strangers = torch.stack([self._term(settings.stranger, own, stranger) for stranger in others]).mean()
        loss = itself + neighbour + strangers
        self.report(images, loss=loss, own=itself, neighbour=neighbour, stranger=strangers)
        return loss

    def _term(self, term: Term, first: Points, second: Points) -> Tensor:
        similarity = cosines(first[0], second[0])
        average = sum_of_all_processes(similarity.mean()) / processes()
        tokens, codes = centred(similarity, average), cosines(first[1], second[1])
        return term.weight * correspondence_loss(tokens, codes, shift=term.shift)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.product.parameters(), lr=self.settings.lr)
